. "$SCENARIOS/lib.sh"

same() { expect "$1" "$(checksum "$SOURCE_DSN" "$2")" "$(checksum "$DEST_DSN" "raw.$2")"; }

rapidbyte plan pipeline.yaml --output json > plan.json
expect_text "the plan says what increments do not see" "deletes in the source are not seen" plan.json

rapidbyte run pipeline.yaml > first.json
expect "the first run brings everything" 5000 "$(dest_sql "SELECT count(*) FROM raw.events")"
same "events" events
same "people" people
expect "the cursor" 5000 "$(json first.json streams.0.cursor.to)"

source_sql "INSERT INTO events (what) VALUES ('a'), ('b');
            UPDATE people SET name = 'changed', updated_at = now() WHERE id <= 3; INSERT INTO people VALUES (9001, 'new')"
rapidbyte run pipeline.yaml > second.json
expect "two events" "2" "$(json second.json streams.0.records_written)"
same "events, appended" events
same "people, merged" people

before=$(dest_sql "SELECT array_agg((ctid, t.*)::text ORDER BY id) FROM raw.events t" | md5sum)
rapidbyte run pipeline.yaml > third.json
expect "nothing new" "0 succeeded" "$(json third.json streams.0.records_written) $(json third.json status)"
expect "the target is untouched" "$before" "$(dest_sql "SELECT array_agg((ctid, t.*)::text ORDER BY id) FROM raw.events t" | md5sum)"

# A number that is taken early, and committed late: the increment waits for it, here in vain.
source_sql "BEGIN; INSERT INTO events (what) VALUES ('prepared'); PREPARE TRANSACTION 'scenario 22'"
source_sql "INSERT INTO events (what) VALUES ('early')"
expect_exit 3 env SETTLE=1s rapidbyte run pipeline.yaml --stream events > waited.json 2> waited.txt
expect_text "who is waited for is named" "prepared transaction 'scenario 22'" waited.txt
expect "nothing was loaded" 5002 "$(dest_sql "SELECT count(*) FROM raw.events")"
source_sql "COMMIT PREPARED 'scenario 22'"
rapidbyte run pipeline.yaml --stream events > late.json
expect "the late one, too" "2" "$(json late.json streams.0.records_written)"
same "events that came late" events

source_sql "INSERT INTO events (what) VALUES ('after')"
rapidbyte run pipeline.yaml > after.json
expect "increments go on" "1" "$(json after.json streams.0.records_written)"
same "events in the end" events
same "people in the end" people
expect_clean
