. "$SCENARIOS/lib.sh"

dest_sql -f target.sql > /dev/null
rapidbyte run pipeline.yaml --workers 3 > first.json
expect "how" "direct" "$(json first.json streams.0.publish)"
expect "rows" "$(checksum "$SOURCE_DSN" readings)" "$(checksum "$DEST_DSN" "app.readings WHERE id > 0" "id, device, value")"
expect "the default" "50001" "$(dest_sql "SELECT count(loaded_at) FROM app.readings")"
expect "the ledger" "published direct" "$(dest_sql "SELECT state || ' ' || publish FROM _rapidbyte.loads")"

source_sql "UPDATE readings SET value = -1 WHERE id = 50000"
expect_exit 5 rapidbyte run pipeline.yaml --workers 1 > second.json 2> err.txt
landed=$(json second.json streams.0.records_written)
expect "what landed is counted" "$((50001 + landed))" "$(dest_sql "SELECT count(*) FROM app.readings")"
expect "something landed" "yes" "$([ "$landed" -gt 0 ] && echo yes)"
expect "not to be run again" "false" "$(json second.json streams.0.safe_to_retry)"

expect_exit 2 rapidbyte run pipeline.yaml > third.json 2> err.txt
expect_text "what landed, again" "$landed rows in" err.txt
expect "nothing more has landed" "$((50001 + landed))" "$(dest_sql "SELECT count(*) FROM app.readings")"
expect_text "the way out" "rapidbyte gc --undo" err.txt
rapidbyte gc pipeline.yaml --undo > gc.json
expect "as before" "50001" "$(dest_sql "SELECT count(*) FROM app.readings")"

source_sql "UPDATE readings SET value = 1 WHERE id = 50000"
rapidbyte run pipeline.yaml > fourth.json
expect "all of it, twice" "100001" "$(dest_sql "SELECT count(*) FROM app.readings")"
expect_clean
