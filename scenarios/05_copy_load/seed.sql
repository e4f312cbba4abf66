CREATE TABLE lines (id integer PRIMARY KEY, line text);
INSERT INTO lines SELECT i, CASE i % 8 WHEN 0 THEN E'\\N' WHEN 1 THEN E'\\.' WHEN 2 THEN NULL WHEN 3 THEN '' WHEN 4 THEN E'a\tb\nc\rd\\'
    WHEN 5 THEN '"quoted", ''twice''' WHEN 6 THEN E'\b\f\v\x7f' ELSE repeat('z', i % 9000) END FROM generate_series(1, 20000) i;
