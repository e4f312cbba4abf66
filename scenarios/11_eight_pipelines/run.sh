. "$SCENARIOS/lib.sh"

for round in 1 2; do
    dest_sql "DROP SCHEMA IF EXISTS _rapidbyte CASCADE" 2> /dev/null
    pids=()
    for number in 1 2 3 4 5 6 7 8; do
        NUMBER=$number ROUND=$round rapidbyte run pipeline.yaml > "$number.json" 2> "$number.txt" &
        pids+=($!)
    done
    for number in 1 2 3 4 5 6 7 8; do
        wait "${pids[$((number - 1))]}" || { cat "$number.txt"; echo "FAILED: pipeline $number of round $round"; exit 1; }
        expect "round $round, pipeline $number" "succeeded 2000 $(checksum "$SOURCE_DSN" readings)" \
            "$(json "$number.json" status) $(json "$number.json" records_written) $(checksum "$DEST_DSN" "fresh_$round.readings_$number")"
    done
done
expect_clean
