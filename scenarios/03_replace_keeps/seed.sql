CREATE TABLE accounts (id integer PRIMARY KEY, name text NOT NULL, balance numeric(10,2));
INSERT INTO accounts SELECT i, 'account ' || i, i * 1.5 FROM generate_series(1, 1000) i;
CREATE TABLE prices (id integer PRIMARY KEY, sku text NOT NULL, price numeric(10,2));
INSERT INTO prices SELECT i, 'sku-' || i, i / 10.0 FROM generate_series(1, 1000) i;
CREATE TABLE stock (id integer PRIMARY KEY, sku text NOT NULL, pieces integer);
INSERT INTO stock SELECT i, 'sku-' || i, i % 40 FROM generate_series(1, 1000) i;
