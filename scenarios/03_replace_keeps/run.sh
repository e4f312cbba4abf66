. "$SCENARIOS/lib.sh"

dest_sql -v reader="${ROLE}_reader" -v owner="${ROLE}_owner" -f target.sql > /dev/null

# What pg_dump says of the application's schema; its \restrict tokens are random.
dump() { pg_dump -s -n app "$DEST_DSN" | grep -v '^\\\(un\)\?restrict'; }
sequence() { dest_sql "SELECT last_value, is_called FROM app.stock_id_seq"; }

dump > before.sql
before=$(sequence)
rapidbyte run pipeline.yaml > first.json
dump > first.sql
diff before.sql first.sql
expect "the sequence" "$before" "$(sequence)"
expect "accounts" "$(checksum "$SOURCE_DSN" accounts)" "$(checksum "$DEST_DSN" app.accounts)"
expect "prices" "$(checksum "$SOURCE_DSN" prices)" "$(checksum "$DEST_DSN" app.prices)"
expect "stock" "$(checksum "$SOURCE_DSN" stock)" "$(checksum "$DEST_DSN" app.stock)"
expect "how" "in_place swap in_place" "$(for i in 0 1 2; do json first.json streams.$i.publish; done | paste -sd' ')"
expect "the view sees the new rows" "334" "$(dest_sql "SELECT count(*) FROM app.rich")"
expect "ON DELETE CASCADE fired for the row that is gone, and for it alone" "1,2" "$(dest_sql "SELECT string_agg(id::text, ',' ORDER BY id) FROM app.payments")"
expect "the trigger fired" "t" "$(dest_sql "SELECT count(*) > 0 FROM app.log")"
expect_text "the result names the trigger" noted first.json

source_sql "DELETE FROM accounts WHERE id = 2; UPDATE accounts SET name = 'changed' WHERE id = 3; INSERT INTO accounts VALUES (9999, 'new', 5000);
    UPDATE stock SET pieces = -1; UPDATE prices SET sku = CASE id WHEN 1 THEN 'sku-2' ELSE 'sku-1' END WHERE id IN (1, 2)"
rapidbyte run pipeline.yaml > second.json
dump > second.sql
diff before.sql second.sql
expect "the sequence, again" "$before" "$(sequence)"
expect "accounts, again" "$(checksum "$SOURCE_DSN" accounts)" "$(checksum "$DEST_DSN" app.accounts)"
expect "prices, again" "$(checksum "$SOURCE_DSN" prices)" "$(checksum "$DEST_DSN" app.prices)"
expect "stock, again" "$(checksum "$SOURCE_DSN" stock)" "$(checksum "$DEST_DSN" app.stock)"
expect "payments, again" "1" "$(dest_sql "SELECT string_agg(id::text, ',') FROM app.payments")"
expect "the view, again" "335" "$(dest_sql "SELECT count(*) FROM app.rich")"
expect_clean
