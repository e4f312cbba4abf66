. "$SCENARIOS/lib.sh"

dest_sql -f target.sql > /dev/null
rapidbyte run pipeline.yaml --workers 4 > first.json
expect "how" "merge rename" "$(for i in 0 1; do json first.json streams.$i.publish; done | paste -sd' ')"
expect "customers" "20010" "$(dest_sql "SELECT count(*) FROM app.customers")"
columns="SELECT sum(hashtextextended(ROW(id, name, balance)::text, 0)::numeric) FROM"
expect "customers as in the source" "$(source_sql "$columns customers")" "$(dest_sql "$columns app.customers WHERE id <= 20000")"
expect "what the stream does not carry is kept, or the default" "new 10000,ours 10010" \
    "$(dest_sql "SELECT string_agg(note || ' ' || n, ',' ORDER BY note) FROM (SELECT note, count(*) AS n FROM app.customers GROUP BY 1) t")"
expect "rows that the load did not name" "10 old" "$(dest_sql "SELECT count(*) || ' ' || min(name) FROM app.customers WHERE id > 20000")"
expect "the view" "$(source_sql "SELECT count(*) FROM customers WHERE balance > 15000")" "$(dest_sql "SELECT count(*) FROM app.rich")"
expect "the latest of each device" "100 9901 10000" "$(dest_sql "SELECT count(*) || ' ' || min(reading) || ' ' || max(reading) FROM app.events")"
expect_text "rows that gave way" "9900 rows of stream events repeated the key device: the greatest at counted" first.json
expect "events' rows" "10000 100" "$(json first.json streams.1.records_read) $(json first.json streams.1.records_written)"

source_sql "UPDATE customers SET balance = balance + 1 WHERE id <= 10; DELETE FROM customers WHERE id = 11"
rapidbyte run pipeline.yaml > second.json
expect "how, again" "merge merge" "$(for i in 0 1; do json second.json streams.$i.publish; done | paste -sd' ')"
expect "customers, again" "$(source_sql "$columns customers")" "$(dest_sql "$columns app.customers WHERE id <= 20000 AND id <> 11")"
expect "nothing is deleted" "1" "$(dest_sql "SELECT count(*) FROM app.customers WHERE id = 11")"

places="SELECT md5(string_agg(ctid::text || xmin, ',' ORDER BY id)) FROM app.customers"
before=$(dest_sql "$places")
rapidbyte run pipeline.yaml > third.json
expect "no row was written" "$before" "$(dest_sql "$places")"

expect_exit 5 rapidbyte run clashes.yaml > clash.json 2> err.txt
expect_text "the count" "9900 rows repeat the key device" err.txt
expect "no key is shown" "" "$(grep -l 'device 1' clash.json err.txt || true)"
expect_exit 5 rapidbyte run clashes.yaml --show-row-values > clash.json 2> err.txt
expect_text "three keys, on demand" '(\"device 0\"), (\"device 1\"), (\"device 10\")' clash.json
expect "nothing was created" "f" "$(dest_sql "SELECT to_regclass('app.clashes') IS NOT NULL")"
expect_clean
