. "$SCENARIOS/lib.sh"

counts() { dest_sql "SELECT (SELECT count(*) FROM raw.nothing), (SELECT count(*) FROM raw.parted), (SELECT count(*) FROM raw.none)"; }

rapidbyte run pipeline.yaml > fresh.json
expect "fresh tables, empty" "0|0|0" "$(counts)"
expect "status" "succeeded 0" "$(json fresh.json status) $(json fresh.json records_written)"

dest_sql "INSERT INTO raw.nothing VALUES (1, 'x'), (2, 'y'); INSERT INTO raw.parted VALUES (3, 'z'); INSERT INTO raw.none VALUES (4)"
before=$(checksum "$DEST_DSN" raw.nothing)
rapidbyte run pipeline.yaml > append.json
expect "append leaves all as it was" "$before" "$(checksum "$DEST_DSN" raw.nothing)"
expect "append leaves all as it was" "2|1|1" "$(counts)"

expect_exit 5 env MODE=replace rapidbyte run pipeline.yaml --set 'source.streams[0].min_rows=1' --stream nothing > guarded.json 2> guarded.txt
expect_text "min_rows is named" min_rows guarded.txt
expect "min_rows guards the target" "$before" "$(checksum "$DEST_DSN" raw.nothing)"

MODE=replace rapidbyte run pipeline.yaml > replace.json
expect "replace empties" "0|0|0" "$(counts)"
expect "status" "succeeded 0" "$(json replace.json status) $(json replace.json records_written)"
expect_clean
