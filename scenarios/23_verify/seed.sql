CREATE TABLE orders (id integer PRIMARY KEY, note text, amount float8, doc jsonb);
INSERT INTO orders SELECT i, md5(i::text), i / 7.0, jsonb_build_object('n', i) FROM generate_series(1, 20000) i;
CREATE TABLE log AS SELECT i % 10 AS a, 'x' AS b FROM generate_series(1, 1000) i;
ANALYZE;
