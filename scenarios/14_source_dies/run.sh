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

# Someone holds lock 99 for as long as this takes, so that the reader stands at row 40,000 when it is terminated.
hold() {
    _sql "$SOURCE_DSN" "SELECT pg_advisory_lock(99); SELECT pg_sleep(200)" > /dev/null 2>&1 &
    holder=$!
    wait_for "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 99" "$SOURCE_DSN"
}
release() {
    source_sql "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 99" > /dev/null
    wait $holder || true
}
terminate_reader() {
    local reader="FROM pg_stat_activity WHERE application_name LIKE 'rapidbyte reader%' AND wait_event = 'advisory'
        AND datname = current_database()"
    wait_for "SELECT count(*) > 0 $reader" "$SOURCE_DSN"
    source_sql "SELECT pg_terminate_backend(pid) $reader" > /dev/null
}

hold
rapidbyte run pipeline.yaml --set resources.max_retries=0 > result.json 2> errors.txt &
run=$!
terminate_reader
expect_exit 3 wait $run
kept "a terminated reader, no retries"

# With retries it is read again, from the same snapshot; nothing is there twice.
rapidbyte run pipeline.yaml > result.json 2> errors.txt &
run=$!
terminate_reader
release
expect_exit 0 wait $run
expect "rows" "$(checksum "$SOURCE_DSN" waits)" "$(checksum "$DEST_DSN" raw.kept "id, waited, v")"
expect "the retry is counted" 1 "$(json result.json retry_count)"
expect "the view on it" 50000 "$(dest_sql "SELECT count(*) FROM raw.on_kept")"
expect_clean
