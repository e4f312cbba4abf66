. "$SCENARIOS/lib.sh"

rapidbyte runs > none.json
expect "no history yet" "[]" "$(json none.json runs)"
rapidbyte gc pipeline.yaml --output text > none.txt
expect_text "nothing to drop" "nothing was left behind" none.txt
expect "and no ledger was made" "0" "$(dest_sql "SELECT count(*) FROM pg_namespace WHERE nspname = '_rapidbyte'")"

rapidbyte run pipeline.yaml --stream orders > first.json
rapidbyte state show pipeline.yaml > state.json
expect "the cursor" "orders at" "$(json state.json cursors.0.stream) $(json state.json cursors.0.field)"
source_sql "INSERT INTO orders VALUES (101, now() + interval '1 day')"
rapidbyte verify pipeline.yaml --stream orders > verified.json
expect "verified up to it" "cursor 100 100" "$(json verified.json streams.0.as_of) $(json verified.json streams.0.source_rows) $(json verified.json streams.0.destination_rows)"

expect_exit 2 rapidbyte state set pipeline.yaml --stream orders --value yesterdayish 2> bad.txt
expect_text "the source refuses it" "no value of at" bad.txt
expect_exit 2 rapidbyte state set pipeline.yaml --stream big --value 1 2> bad.txt
expect_text "no cursor" "big has no cursor" bad.txt
rapidbyte state set pipeline.yaml --stream orders --value "2024-01-03 00:00:00+05:45" > set.json
expect "as the source prints it" "2024-01-02 18:15:00+00" "$(json set.json cursors.0.value)"
expect "by hand" "null" "$(json set.json cursors.0.run_id)"

expect_exit 2 rapidbyte state reset pipeline.yaml < /dev/null 2> asked.txt
expect_text "it asks" "--yes" asked.txt
rapidbyte state reset pipeline.yaml --stream orders --yes > reset.json
expect "forgotten" "[]" "$(json reset.json cursors)"
expect_exit 2 rapidbyte run pipeline.yaml --stream orders > refused.json 2> refused.txt
expect "an append is refused" "cursor_unknown" "$(json refused.json error.code)"
expect "nothing twice" "100" "$(dest_sql "SELECT count(*) FROM raw.orders")"

dest_sql "CREATE TABLE raw.rapidbyte_stage_of_mine (a integer)"
RAPIDBYTE_FAILPOINT=join.all_done=exit rapidbyte run pipeline.yaml --stream big > killed.json 2> killed.txt || true
rapidbyte gc pipeline.yaml --dry-run > would.json
stage=$(json would.json stages_dropped.0)
expect "the stage is there" "t" "$(dest_sql "SELECT to_regclass('$stage') IS NOT NULL")"
rapidbyte gc pipeline.yaml > dropped.json
expect "it was dropped" "$stage f" "$(json dropped.json stages_dropped.0) $(dest_sql "SELECT to_regclass('$stage') IS NOT NULL")"
expect "a table with such a name is not" "t" "$(dest_sql "SELECT to_regclass('raw.rapidbyte_stage_of_mine') IS NOT NULL")"
dest_sql "DROP TABLE raw.rapidbyte_stage_of_mine"

rapidbyte run pipeline.yaml --stream big > last.json
rapidbyte runs pipeline.yaml > runs.json
expect "history, the newest first" "succeeded lost succeeded" "$(for i in 0 1 2; do json runs.json runs.$i.status; done | paste -sd' ')"
rapidbyte runs -n 1 --output text > runs.txt
expect_text "as text" "$(json last.json run_id)" runs.txt
rapidbyte runs show "$(json last.json run_id)" > shown.json
expect "the run's own document" "20000" "$(json shown.json records_written)"
expect_exit 2 rapidbyte runs show nothing 2> unknown.txt
rapidbyte report shown.json --html page.html
expect_text "a page of it" "raw.big" page.html
expect_clean
