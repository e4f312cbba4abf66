CREATE TABLE a AS SELECT i AS id, md5(i::text) AS v FROM generate_series(1, 40000) i;
CREATE TABLE b (id integer PRIMARY KEY, v text);
INSERT INTO b SELECT i, md5(i::text) FROM generate_series(1, 10000) i;
