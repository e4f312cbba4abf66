CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL, email text, created_at timestamptz NOT NULL);
INSERT INTO customers
SELECT i, 'Customer ' || i, CASE WHEN i % 7 <> 0 THEN 'c' || i || '@example.com' END,
       timestamptz '2024-01-01 00:00:00+00' + i * interval '1 minute'
FROM generate_series(1, 20000) i;

CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customers, amount numeric(12,2), note text);
INSERT INTO orders
SELECT i, 1 + i % 20000, (i * 13 % 100000) / 100.0, CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'note ' || i END
FROM generate_series(1, 50000) i;
