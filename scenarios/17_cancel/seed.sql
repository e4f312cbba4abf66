CREATE TABLE numbers AS SELECT i AS id, repeat('x', 200) AS v FROM generate_series(1, 20000) i;
