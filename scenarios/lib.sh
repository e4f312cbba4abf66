# Words for scenarios; sourced: . "$SCENARIOS/lib.sh"

# What is told goes past redirections: `expect_exit 2 rapidbyte ... > result.json`.
exec 9>&1

# The server's defaults are hostile; psql's output shall be the same everywhere. rapidbyte does not get these.
sane="-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c bytea_output=hex -c extra_float_digits=1"

# source_sql "SELECT 1"; source_sql -f file; dest_sql likewise: rows unaligned, without header; an error ends it.
source_sql() { _sql "$SOURCE_DSN" "$@"; }
dest_sql() { _sql "$DEST_DSN" "$@"; }
_sql() {
    local dsn=$1
    shift
    if [ $# = 1 ]; then set -- -c "$1"; fi
    PGOPTIONS="$sane" psql -XAtq -v ON_ERROR_STOP=1 "$dsn" "$@"
}

# checksum DSN RELATION [COLUMNS]: order-free checksum of a relation's rows.
checksum() {
    _sql "$1" "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0),
        coalesce(bit_xor(hashtextextended(t::text, 1)), 0) FROM (SELECT ${3:-*} FROM $2) t"
}

# expect WHAT EXPECTED ACTUAL
expect() {
    if [ "$2" != "$3" ]; then
        printf 'FAILED: %s\n  expected: %s\n  actual:   %s\n' "$1" "$2" "$3" >&9
        exit 1
    fi
    echo "ok: $1" >&9
}

# expect_exit CODE COMMAND...: runs it; any other exit code is a failure.
expect_exit() {
    local wanted=$1 code=0
    shift
    "$@" || code=$?
    expect "exit code of ${*:1:3}" "$wanted" "$code"
}

# expect_text WHAT PART FILE: the file contains the text.
expect_text() {
    if ! grep -qF -- "$2" "$3"; then
        printf 'FAILED: %s\n  %s does not contain: %s\n' "$1" "$3" "$2" >&9
        sed 's/^/  | /' "$3" >&9
        exit 1
    fi
    echo "ok: $1" >&9
}

# wait_for SQL DSN: until the query returns t; 60 s at most.
wait_for() {
    local i
    for i in $(seq 600); do
        if [ "$(_sql "$2" "$1")" = t ]; then return 0; fi
        sleep 0.1
    done
    echo "FAILED: waited 60 s for: $1"
    exit 1
}

# Nothing of a run may be left in the destination: no stage, no session.
expect_clean() {
    expect "no session of rapidbyte is left" "0" "$(dest_sql "SELECT count(*) FROM pg_stat_activity
        WHERE application_name LIKE 'rapidbyte %' AND datname IN (current_database(),
        replace(current_database(), '_dest', '_source'))")"
    expect "no stage is left" "" "$(dest_sql "SELECT string_agg(relname, ' ') FROM pg_class c JOIN pg_namespace n
        ON n.oid = relnamespace WHERE relkind = 'r' AND (nspname = '_rapidbyte' AND
        relname NOT IN ('leases', 'loads', 'receipts', 'cursors', 'files', 'rejects', 'runs', 'version', 'ledger')
        OR nspname <> '_rapidbyte' AND relname LIKE '%rapidbyte%')")"
}
