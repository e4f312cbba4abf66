CREATE TABLE types (
    id bigint PRIMARY KEY, a_smallint smallint, an_integer integer, a_bigint bigint, a_numeric numeric, a_price numeric(12,4),
    a_real real, a_double double precision, a_boolean boolean, a_text text, a_varchar varchar(20), a_char char(5),
    a_bytea bytea, a_date date, a_time time, a_timetz timetz, a_timestamp timestamp, a_timestamptz timestamptz(3),
    an_interval interval, a_uuid uuid, a_json json, a_jsonb jsonb, some_integers integer[], some_texts text[]
);
INSERT INTO types (id) VALUES (0);
INSERT INTO types VALUES
(1, -32768, -2147483648, -9223372036854775808, ('-1e' || 1000)::numeric, -99999999.9999, '-3.4028235e38', '-1.7976931348623157e308',
 false, '', '', '', '', '4713-01-01 BC', '00:00', '00:00+15:59', '4713-01-01 00:00 BC', '4713-01-01 00:00+00 BC',
 '-178000000 years', '00000000-0000-0000-0000-000000000000', '{}', '{}', '{}', '{}'),
(2, 32767, 2147483647, 9223372036854775807, ('1e-' || 1000)::numeric, 99999999.9999, '1e-45', '5e-324',
 true, repeat('x', 100000), repeat('é', 20), 'ab   ', (SELECT string_agg(set_byte('\x00', 0, b), '' ORDER BY b) FROM generate_series(0, 255) b),
 '5874897-12-31', '24:00', '24:00-15:59', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999+00',
 '178000000 years 11 mons 30 days 23:59:59.999999', 'ffffffff-ffff-ffff-ffff-ffffffffffff',
 '{"b": 1, "a":  1, "a": 2}', '{"n": 1e400, "deep": [[[[]]]], "é": "\u00e9"}', '[-1:1]={1,NULL,3}', '{NULL,"NULL","","a,b","c\\\"d"}'),
(3, 0, 0, 0, 'NaN', 'NaN', 'NaN', 'NaN', NULL, E'tab\tnewline\nreturn\rbackslash\\quote"comma,\\N\\.', E'\\N', E'\\.', '\x5c4e', 'infinity',
 '23:59:59.999999', '12:00+05:45', 'infinity', 'infinity', '1 mon', '6ba7b810-9dad-11d1-80b4-00c04fd430c8', 'null', 'null',
 '{{1,2},{3,4}}', ARRAY[E'\\N', E'\t', '{}']),
(4, 1, 1, 1, 'Infinity', 0, '-0', '-0', true, '𝒽𝑒𝓁𝓁𝑜 🐘 ‮rtl‬ e' || U&'\0301' || ' 中文 عربى', '🐘', '中文', '\xff', '-infinity', '00:00:00.000001',
 '00:00-00:00:01', '-infinity', '-infinity', '-1 mon +1 day -00:00:00.000001', gen_random_uuid(), '"\ud83d\udc18"', '"🐘"',
 '{}', '{🐘,é}'),
(5, 1, 1, 1, '-Infinity', 0.0001, 'Infinity', '-Infinity', true, U&'\FEFFbom', 'a ', 'a', '\x0000', '2000-02-29', '12:34:56.789',
 '12:34:56.789+00', '1999-12-31 23:59:60', '2038-01-19 03:14:07.999+00', '1 year 2 mons 3 days 04:05:06.789', gen_random_uuid(),
 '[1e5, 1.0, 1.00]', '[1e5, 1.0, 1.00]', ARRAY[2147483647], ARRAY[repeat('y', 5000)]);
INSERT INTO types (id, a_smallint, an_integer, a_numeric, a_price, a_double, a_text, a_date, a_timestamptz, a_uuid, a_jsonb, some_integers)
SELECT i, i % 30000, i, i / 3.0, i / 7.0, sqrt(i), repeat(chr(200 + i % 5000), i % 50), date '1990-01-01' + i, to_timestamp(i * 1e5),
       md5(i::text)::uuid, jsonb_build_object('i', i, 'list', ARRAY[i, NULL]), ARRAY[i, i + 1]
FROM generate_series(10, 5000) i;

CREATE TABLE more_types (
    id integer, a_cidr cidr, an_inet inet, a_macaddr macaddr, a_macaddr8 macaddr8, some_bits bit(5), varying_bits bit varying(40),
    an_int4range int4range, a_numrange numrange, a_tstzrange tstzrange, a_daterange daterange, an_int8multirange int8multirange,
    a_tstzmultirange tstzmultirange, a_point point, a_line line, a_segment lseg, a_box box, a_path path, a_polygon polygon,
    a_circle circle, a_tsvector tsvector, a_tsquery tsquery, a_money money, an_lsn pg_lsn, an_oid oid, a_name name, a_char "char",
    a_jsonpath jsonpath, days interval day to second(2)[], moments timestamptz[], ranges int4range[], documents jsonb[], blobs bytea[]
);
INSERT INTO more_types (id) VALUES (0);
INSERT INTO more_types VALUES
(1, '10.0.0.0/8', '::1/128', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', '10101', '', 'empty', '[1.5,)', '(-infinity,infinity]',
 '[2000-01-01,infinity)', '{[1,3),[5,7)}', '{}', '(1e308,-0)', '{1,2,3}', '[(0,0),(1,1)]', '(1,1),(0,0)', '[(0,0),(1,1)]',
 '((0,0),(1,1),(2,0))', '<(0,0),5>', $$'it''s':1A,2 fat:3$$, 'fat & !rat:AB <2> x', -92233720368547758.08, 'FFFFFFFF/FFFFFFFF', 4294967295,
 'name', E'\\303', '$.a[*] ? (@ > 1)', '{1 day,02:00:00.12}', '{infinity,-infinity,NULL}', '{empty,"[1,2)"}', ARRAY['{"a": "b,c"}'::jsonb, NULL],
 ARRAY['\x00'::bytea, '']),
(2, '2001:db8::/32', '192.168.0.1/24', NULL, NULL, '00000', repeat('10', 20)::bit varying(40), '(,)', '(,)', NULL, '(,)', '{(,)}', '{[2020-01-01,infinity)}',
 NULL, NULL, NULL, NULL, '((0,0),(1,1))', NULL, NULL, '', '', 92233720368547758.07, '0/0', 0, repeat('n', 63), '', '$', '{}', '{}', '{}', '{}', '{}');

CREATE SCHEMA app;
CREATE TYPE app."Mood" AS ENUM ('sad', 'it''s ok', 'glücklich');
CREATE DOMAIN app.positive AS integer CHECK (VALUE > 0);
CREATE TYPE app.address AS (street text, number integer, tags text[]);
CREATE TABLE own_types (id integer PRIMARY KEY, mood app."Mood", moods app."Mood"[], n app.positive, at app.address, ats app.address[]);
INSERT INTO own_types VALUES (1, 'glücklich', '{sad,NULL,"it''s ok"}', 7, ROW('a "b" \c, (d)', NULL, '{x,"y z"}'), ARRAY[ROW(NULL, 1, NULL)::app.address]),
    (2, NULL, NULL, NULL, NULL, NULL);
