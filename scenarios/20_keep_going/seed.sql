CREATE TABLE first AS SELECT i AS id FROM generate_series(1, 1000) i;
CREATE TABLE last AS SELECT i AS id FROM generate_series(1, 1000) i;
