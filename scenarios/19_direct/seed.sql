CREATE TABLE readings (id integer, device text, value numeric(8,2));
INSERT INTO readings SELECT i, 'device ' || i % 100, i / 100.0 FROM generate_series(1, 50000) i;
ANALYZE readings;
