CREATE TABLE customers (id integer PRIMARY KEY, name text NOT NULL, balance numeric(10,2));
INSERT INTO customers SELECT i, 'customer ' || i, i * 1.5 FROM generate_series(1, 20000) i;
CREATE TABLE events (device text, at timestamptz, reading double precision);
INSERT INTO events SELECT 'device ' || i % 100, timestamptz '2024-01-01' + i * interval '1 s', i FROM generate_series(1, 10000) i;
