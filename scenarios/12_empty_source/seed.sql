CREATE TABLE nothing (id integer PRIMARY KEY, v text);
CREATE TABLE parted (id integer, v text) PARTITION BY RANGE (id);
