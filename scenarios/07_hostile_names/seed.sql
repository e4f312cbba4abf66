CREATE SCHEMA "Odd ""schema"" %s {} \ $1";
DO $do$
DECLARE
    name text;
    number integer := 0;
BEGIN
    FOREACH name IN ARRAY ARRAY['select', 'User', ' lead and trail ', 'Ünïcode🐘', '1st', 'per%cent%s', '%(x)s', 'br{a}ce{}{0}', 'quo"te"', 'sin''gle',
        'semi;colon', 'back\slash\', '$1', '$$', '--', 'a"; DROP TABLE raw.victim; --', ':colon',
        'dot.ted', 'comma,', '(paren)', 'percent 100%', repeat('x', 63), repeat('é', 31) || 'z', E'\u202Ertl', 'CAPS', 'ctid_', '{load}']
    LOOP
        number := number + 1;
        EXECUTE format('CREATE TABLE %I.%I (%I integer PRIMARY KEY, %I text, "%%s" integer, "{}" text)',
            'Odd "schema" %s {} \ $1', name, name, left(name, 8) || '_2');
        EXECUTE format('INSERT INTO %I.%I SELECT i, %L || i, i, NULL FROM generate_series(1, 100) i', 'Odd "schema" %s {} \ $1', name, name);
        EXECUTE format('CREATE INDEX ON %I.%I (%I)', 'Odd "schema" %s {} \ $1', name, left(name, 8) || '_2');
    END LOOP;
END $do$;
