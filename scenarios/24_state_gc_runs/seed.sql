CREATE TABLE orders (id integer PRIMARY KEY, at timestamptz NOT NULL);
INSERT INTO orders SELECT i, '2024-01-01 UTC'::timestamptz + i * interval '1 hour' FROM generate_series(1, 100) i;
CREATE TABLE big AS SELECT i AS id, repeat('x', 200) AS v FROM generate_series(1, 20000) i;
