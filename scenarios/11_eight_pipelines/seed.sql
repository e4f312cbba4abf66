CREATE TABLE readings AS SELECT i AS id, i % 100 AS sensor, random() AS value FROM generate_series(1, 2000) i;
