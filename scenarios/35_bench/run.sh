. "$SCENARIOS/lib.sh"

bench() { rapidbyte bench --dsn "$DEST_DSN" --source-dsn "$SOURCE_DSN" --rows 2000 --iters 1 "$@"; }

bench --workers 1,2 --save before.json --plots plots > report.json
expect "contenders" "psql | psql, 1 pipe;psql | psql, 2 pipes;rapidbyte, 1 worker;rapidbyte, 2 workers" \
    "$(for i in 0 1 2 3; do json report.json lines.$i.contender; done | paste -sd';')"
expect "rows" "2000 2000" "$(source_sql "SELECT count(*) FROM bench.small") $(dest_sql "SELECT count(*) FROM bench.small")"
expect "the same rows" "$(checksum "$SOURCE_DSN" bench.small)" "$(checksum "$DEST_DSN" bench.small)"
expect "saved as printed" "$(json report.json lines.2.wall_s)" "$(json before.json lines.2.wall_s)"
expect "pictures" "copy-small-phases.svg copy-small-scaling.svg copy-small-throughput.svg" "$(ls plots | paste -sd' ')"

bench --workers 2 --against before.json --output text > again.txt
expect_text "compared" "against the earlier report" again.txt
expect_exit 2 bench --mode files --against before.json > refused.json

code=0
bench --gate --output json > gate.json || code=$?
expect "9 where a target was missed, else 0" "$(grep -q '"verdict": "missed"' gate.json && echo 9 || echo 0)" "$code"
expect_text "what cannot be judged is said" "it is about 1,000,000 rows, and these were 2,000" gate.json
