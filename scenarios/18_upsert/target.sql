CREATE SCHEMA app;
CREATE TABLE app.customers (name text, id integer, note text DEFAULT 'new', balance numeric(10,2));
INSERT INTO app.customers SELECT 'old', i, 'ours', 0 FROM generate_series(10001, 20010) i;
CREATE VIEW app.rich AS SELECT id FROM app.customers WHERE balance > 15000;
