. "$SCENARIOS/lib.sh"

rapidbyte run pipeline.yaml --checksum > result.json

expect "status" succeeded "$(json result.json status)"
expect "rows written" 70000 "$(json result.json records_written)"
expect "first stream" "customers 20000" "$(json result.json streams.0.name) $(json result.json streams.0.records_written)"
expect "second stream" "orders 50000" "$(json result.json streams.1.name) $(json result.json streams.1.records_written)"
expect "a fresh table is renamed into place" rename "$(json result.json streams.0.publish)"
expect "wire" binary-relay "$(json result.json streams.0.wire)"
expect "commit state" after_commit_confirmed "$(json result.json streams.1.commit_state)"
expect "checksums match" true "$(json result.json streams.1.checksum.match)"
expect "no error" null "$(json result.json error)"
expect "customers" "$(checksum "$SOURCE_DSN" customers)" "$(checksum "$DEST_DSN" raw.customers)"
expect "orders" "$(checksum "$SOURCE_DSN" orders)" "$(checksum "$DEST_DSN" raw.orders)"
expect "NULL and the empty text stay two things" "16666 16667" \
    "$(dest_sql "SELECT count(*) FILTER (WHERE note IS NULL) || ' ' || count(*) FILTER (WHERE note = '') FROM raw.orders")"

source_sql "DELETE FROM orders WHERE id <= 10; INSERT INTO orders VALUES (60000, 1, 1, 'new')"
rapidbyte run pipeline.yaml --result again.json > /dev/null
expect "rows of the second run" 49991 "$(json again.json streams.1.records_written)"
expect "customers again" "$(checksum "$SOURCE_DSN" customers)" "$(checksum "$DEST_DSN" raw.customers)"
expect "orders again" "$(checksum "$SOURCE_DSN" orders)" "$(checksum "$DEST_DSN" raw.orders)"
expect_clean
