. "$SCENARIOS/lib.sh"

for round in 1 2 3 4 5; do
    rapidbyte run pipeline.yaml > result.json
    expect "round $round: rows" "60000 60000 1000" \
        "$(json result.json streams.0.records_written) $(json result.json streams.1.records_written) $(json result.json streams.2.records_written)"
    expect "round $round: rows in the tables" "60000 60000 1000" \
        "$(dest_sql "SELECT (SELECT count(*) FROM loaded.events) || ' ' || (SELECT count(*) FROM loaded.visits) || ' ' || (SELECT count(*) FROM loaded.pages)")"
    expect "round $round: retries" "0 0" "$(json result.json retry_count) $(json result.json ddl_race_retries)"
    expect "round $round: workers" 3 "$(json result.json workers.count)"
done

for table in events visits pages; do
    expect "$table" "$(checksum "$SOURCE_DSN" $table)" "$(checksum "$DEST_DSN" loaded.$table)"
done
partitions=$(json result.json streams.0.partitions.total)
expect "a stream of several partitions" yes "$([ "$partitions" -gt 3 ] && echo yes || echo "no: $partitions")"
expect "every partition has its receipt" "$(json result.json streams.0.partitions.total)" "$(json result.json streams.0.partitions.loaded)"
expect "every partition is in the timeline" "$partitions" "$(json result.json streams.0.timeline.#)"
expect_clean
