CREATE SCHEMA app;
CREATE TABLE app.accounts (id integer PRIMARY KEY, name text NOT NULL, balance numeric(10,2) DEFAULT 0 CHECK (balance > -100));
CREATE TABLE app.prices (id integer PRIMARY KEY, sku text NOT NULL COLLATE "C", price numeric(10,2) CHECK (price >= 0),
    CONSTRAINT one_price UNIQUE (sku)) WITH (fillfactor = 80);
INSERT INTO app.accounts VALUES (1, 'old', 1), (2, 'old', 2), (5000, 'gone', 3);
INSERT INTO app.prices VALUES (1, 'old', 1), (5000, 'gone', 3);

CREATE TABLE app.stock (id serial PRIMARY KEY, sku text NOT NULL, pieces integer);
INSERT INTO app.stock VALUES (1, 'old', 1), (5000, 'gone', 3);
SELECT setval('app.stock_id_seq', 7777);

CREATE ROLE :"reader";
CREATE ROLE :"owner";
CREATE VIEW app.rich AS SELECT id, name FROM app.accounts WHERE balance > 1000;
CREATE TABLE app.payments (id integer PRIMARY KEY, account integer REFERENCES app.accounts ON DELETE CASCADE);
INSERT INTO app.payments VALUES (1, 1), (2, 2), (3, 5000);
CREATE INDEX accounts_lower ON app.accounts (lower(name)) WHERE balance IS NOT NULL;
CREATE TABLE app.log (at timestamptz, what text);
CREATE FUNCTION app.note() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO app.log VALUES (now(), TG_OP); RETURN NULL; END';
CREATE TRIGGER noted AFTER UPDATE ON app.accounts FOR EACH STATEMENT EXECUTE FUNCTION app.note();
CREATE POLICY own ON app.accounts FOR SELECT TO :"reader" USING (id < 100);
ALTER TABLE app.accounts ENABLE ROW LEVEL SECURITY;
CREATE STATISTICS app.accounts_stats (dependencies) ON name, balance FROM app.accounts;
CREATE PUBLICATION accounts_only FOR TABLE app.accounts;
ALTER TABLE app.accounts ALTER name SET STORAGE EXTERNAL, ALTER balance SET STATISTICS 7;
GRANT SELECT ON app.accounts TO :"reader" WITH GRANT OPTION;
GRANT UPDATE (name) ON app.accounts TO :"reader";
COMMENT ON TABLE app.accounts IS 'accounts; "quoted"';
COMMENT ON COLUMN app.accounts.name IS 'the name';

CREATE INDEX prices_price ON app.prices (price DESC NULLS LAST) INCLUDE (sku);
ALTER TABLE app.prices ALTER sku SET STATISTICS 11, ALTER sku SET STORAGE EXTERNAL;
GRANT SELECT, INSERT ON app.prices TO :"reader";
GRANT SELECT (sku) ON app.prices TO public;
COMMENT ON TABLE app.prices IS 'prices';
COMMENT ON COLUMN app.prices.price IS 'in euros';
COMMENT ON INDEX app.prices_price IS 'dearest first';
COMMENT ON CONSTRAINT one_price ON app.prices IS 'one a sku';

CREATE INDEX stock_sku ON app.stock (sku);
ALTER TABLE app.stock CLUSTER ON stock_sku;
ALTER TABLE app.stock OWNER TO :"owner";
