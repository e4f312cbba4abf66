. "$SCENARIOS/lib.sh"

export DEMO="$SCENARIOS/../rapidbyte/demo"
mkdir data
printf 'id,code,amount,note\n1,007,1.10,\n2,08,-0.01,""\n' > data/part-1.csv
printf 'id,code,amount,note\n3,,1234567.89,"two\nlines, ""quoted"""\n4,x,,é🐘\n' > data/part-2.csv

rapidbyte run pipeline.yaml > result.json
expect "rows of each stream" "16 1458 26115 336776 4" \
    "$(for i in 0 1 2 3 4; do json result.json streams.$i.records_written; done | paste -sd' ')"

dest_sql "CREATE TABLE airports (LIKE raw.airports)"
psql -Xq "$DEST_DSN" -c "\copy airports FROM '$DEMO/airports.csv' (FORMAT csv, HEADER)"
expect "as psql's \\copy has it" "$(checksum "$DEST_DSN" airports)" "$(checksum "$DEST_DSN" raw.airports)"
dest_sql "CREATE TABLE weather (LIKE raw.weather)"
gunzip -c "$DEMO/weather.csv.gz" > weather.csv
psql -Xq "$DEST_DSN" -c "\copy weather FROM 'weather.csv' (FORMAT csv, HEADER)"
expect "as psql's \\copy has it, compressed" "$(checksum "$DEST_DSN" weather)" "$(checksum "$DEST_DSN" raw.weather)"

expect "declared types, leading zeros, NULL and the empty text" "1|007|1.10|t|
2|08|-0.01|f|
3|∅|1234567.89|f|two
lines, \"quoted\"
4|x|∅|f|é🐘" "$(dest_sql "SELECT id, coalesce(code, '∅'), coalesce(amount::text, '∅'), note IS NULL, note FROM raw.parts ORDER BY id")"
expect "Parquet's types" "timestamp with time zone,smallint,integer" "$(dest_sql "SELECT string_agg(format_type(atttypid, atttypmod), ','
    ORDER BY attname DESC) FROM pg_attribute WHERE attrelid = 'raw.flights'::regclass AND attname IN ('time_hour', 'flight', 'month')")"
expect "Parquet's rows" "336776|8255|350217607|2013-01-01 10:00:00+00" \
    "$(dest_sql "SELECT count(*), count(*) FILTER (WHERE dep_time IS NULL), sum(distance), min(time_hour) FROM raw.flights")"
expect "time in the first hour of the year" "2013-01-01 10:00:00+00" "$(dest_sql "SELECT min(time_hour) FROM raw.flights")"
expect_clean
