. "$SCENARIOS/lib.sh"

dest_sql "CREATE SCHEMA raw; CREATE TABLE raw.kept (id integer, v text);
    INSERT INTO raw.kept SELECT i, 'old' FROM generate_series(1, 10) i; CREATE VIEW raw.on_kept AS SELECT id FROM raw.kept"
old=$(checksum "$DEST_DSN" raw.kept)

kept() {
    expect "$1: the old table stays" "$old" "$(checksum "$DEST_DSN" raw.kept)"
    expect "$1: as the JSON says" "failed before_commit true source" \
        "$(json result.json status) $(json result.json streams.0.commit_state) $(json result.json streams.0.safe_to_retry) $(json result.json error.category)"
    expect_clean
}

export STREAM=fails_late
dest_sql "ALTER TABLE raw.kept ADD inverse integer"
old=$(checksum "$DEST_DSN" raw.kept)
expect_exit 3 rapidbyte run pipeline.yaml > result.json
expect "the server's own code" 22012 "$(json result.json error.sqlstate)"
expect "the stream" fails_late "$(json result.json error.stream)"
kept "a late row"

export STREAM=waits
dest_sql "ALTER TABLE raw.kept ADD waited text"
old=$(checksum "$DEST_DSN" raw.kept)
_sql "$SOURCE_DSN" "SELECT pg_advisory_lock(99); SELECT pg_sleep(120)" > /dev/null 2>&1 &
holder=$!
wait_for "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 99" "$SOURCE_DSN"
rapidbyte run pipeline.yaml > result.json 2> errors.txt &
run=$!
wait_for "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name LIKE 'rapidbyte reader%' AND wait_event = 'advisory'
    AND datname = current_database()" "$SOURCE_DSN"
source_sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'rapidbyte reader%'
    AND wait_event = 'advisory' AND datname = current_database()" > /dev/null
code=0
wait $run || code=$?
expect "exit code" 3 $code
kept "a terminated reader"

source_sql "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 99" > /dev/null
wait $holder || true
rapidbyte run pipeline.yaml > result.json
expect "the rerun" "$(checksum "$SOURCE_DSN" waits)" "$(checksum "$DEST_DSN" raw.kept "id, waited, v")"
expect "and the view on it" 50000 "$(dest_sql "SELECT count(*) FROM raw.on_kept")"
expect_clean
