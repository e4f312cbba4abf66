CREATE TABLE events (id bigserial PRIMARY KEY, what text);
INSERT INTO events (what) SELECT md5(i::text) FROM generate_series(1, 5000) i;

CREATE TABLE people (id int PRIMARY KEY, name text, updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO people SELECT i, md5(i::text), now() - interval '1 day' + i * interval '1 s' FROM generate_series(1, 2000) i;
CREATE INDEX ON people (updated_at);
