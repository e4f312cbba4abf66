. "$SCENARIOS/lib.sh"

dest_sql "CREATE SCHEMA raw; CREATE TABLE raw.kept (id integer, v text); INSERT INTO raw.kept VALUES (0, 'old')"

# hold DSN TABLE MODE: somebody holds a lock on the table until `release`.
hold() {
    held=$1
    PGAPPNAME=holder _sql "$1" "BEGIN; LOCK TABLE $2 IN $3 MODE; SELECT pg_sleep(200)" > /dev/null 2>&1 &
    holder=$!
    wait_for "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'holder' AND wait_event = 'PgSleep'
        AND datname = current_database()" "$1"
}
release() {
    _sql "$held" "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holder'
        AND datname = current_database()" > /dev/null
    wait $holder || true
}
kept() {
    expect "$1: the result" "cancelled 7 $2" "$(json result.json status) $(json result.json exit_code) $(json result.json error.code)"
    expect "$1: the old table stays" "0|old" "$(dest_sql "SELECT id, v FROM raw.kept")"
    expect_clean
}
# stop SIGNAL SESSIONS DSN: sends the signal once one of these sessions waits for a lock.
stop() {
    wait_for "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name LIKE 'rapidbyte $2%'
        AND wait_event_type = 'Lock' AND datname = current_database()" "$3"
    kill "-$1" $run
    expect_exit 7 wait $run
}

hold "$SOURCE_DSN" numbers "ACCESS EXCLUSIVE"
# Not by `&` alone: what a shell puts into the background ignores SIGINT.
python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); os.execvp(sys.argv[1], sys.argv[1:])' \
    rapidbyte run pipeline.yaml > result.json 2> errors.txt &
run=$!
stop INT reader "$SOURCE_DSN"
expect_text "it is told" "SIGINT: stopping; a second one leaves at once" errors.txt
kept "SIGINT at the source's lock" cancelled

expect_exit 7 rapidbyte run pipeline.yaml --deadline 2s > result.json 2> errors.txt
kept "a deadline at the source's lock" deadline
release

hold "$DEST_DSN" raw.kept "ROW EXCLUSIVE"
rapidbyte run pipeline.yaml > result.json 2> errors.txt &
run=$!
stop TERM leader "$DEST_DSN"
kept "SIGTERM at the target's lock" cancelled
release

expect_exit 0 rapidbyte run pipeline.yaml > result.json
expect "then it runs" 20000 "$(dest_sql "SELECT count(*) FROM raw.kept")"
expect_clean
