. "$SCENARIOS/lib.sh"

for side in SOURCE DEST; do
    dsn=${side}_DSN
    export "${side}_HOST=$(_sql "${!dsn}" '\echo :HOST')" "${side}_PORT=$(_sql "${!dsn}" '\echo :PORT')"
    export "${side}_USER=$(_sql "${!dsn}" '\echo :USER')" "${side}_DATABASE=$(_sql "${!dsn}" '\echo :DBNAME')"
done
dest_sql "DO \$\$ BEGIN EXECUTE format('ALTER DATABASE %I SET log_statement = %L', current_database(), 'all'); END \$\$"

rapidbyte run pipeline.yaml > result.json 2> notices.txt
expect "lines" "$(checksum "$SOURCE_DSN" lines)" "$(checksum "$DEST_DSN" raw.lines)"
expect "rows" 20000 "$(json result.json records_written)"
expect_text "a notice about load_method" load_method notices.txt
expect_text "a notice about state" state notices.txt
expect_text "a notice about compression" compression notices.txt

# The target was made with the source's primary key: the same rows once more are refused, and nothing is appended.
expect_exit 5 rapidbyte run pipeline.yaml > result.json 2> notices.txt
expect "the constraint" "data 23505" "$(json result.json error.category) $(json result.json error.sqlstate)"
expect "no row's values are shown" "" "$(grep -F 'Key (' result.json notices.txt || true)"
expect "nothing is appended" 20000 "$(dest_sql "SELECT count(*) FROM raw.lines")"

dest_sql "ALTER TABLE raw.lines DROP CONSTRAINT lines_pkey"
rapidbyte run pipeline.yaml > result.json 2> notices.txt
expect "append appends" 40000 "$(dest_sql "SELECT count(*) FROM raw.lines")"
expect "an append to a table with rows is inserted from the stage" insert "$(json result.json streams.0.publish)"

if [ -n "${SERVER_LOG:-}" ]; then
    serverlog "$DEST_DSN" "rapidbyte worker" > workers.txt
    expect "workers COPY, as often as there are partitions" t \
        "$([ "$(grep -c '|COPY .* FROM STDIN' workers.txt)" -ge 2 ] && echo t)"
    expect "and INSERT nothing but receipts" "" "$(grep '|INSERT' workers.txt | grep -v receipts || true)"
fi
expect_clean
