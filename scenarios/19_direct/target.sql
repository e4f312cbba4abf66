CREATE SCHEMA app;
CREATE TABLE app.readings (id integer, device text, value numeric(8,2) CHECK (value >= 0), loaded_at timestamptz DEFAULT now());
CREATE INDEX ON app.readings (device);
INSERT INTO app.readings VALUES (0, 'ours', 0);
