CREATE TABLE users (id integer PRIMARY KEY, "E-Mail" text, password text, age smallint, twice integer GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO users SELECT i, 'u' || i || '@example.com', 'secret' || i, i % 90 FROM generate_series(1, 3000) i;
