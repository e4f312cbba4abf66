CREATE TABLE events (id bigint PRIMARY KEY, kind text, payload text);
INSERT INTO events SELECT i, 'k' || i % 10, repeat(md5(i::text), 4) FROM generate_series(1, 60000) i;
CREATE TABLE visits AS SELECT i AS id, i % 977 AS visitor, now() - i * interval '1 s' AS at FROM generate_series(1, 60000) i;
CREATE TABLE pages AS SELECT i AS id, '/p/' || i AS path FROM generate_series(1, 1000) i;
ANALYZE;
