CREATE TABLE things (id integer PRIMARY KEY, name text, made timestamptz);
INSERT INTO things SELECT i, 'thing ' || i, now() FROM generate_series(1, 30000) i;
