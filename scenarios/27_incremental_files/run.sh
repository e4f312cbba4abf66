. "$SCENARIOS/lib.sh"

rows() { dest_sql "SELECT count(*), sum(id) FROM raw.orders"; }

mkdir in
{ echo id,note; seq 1 100 | sed 's/$/,a/'; } > in/a.csv
rapidbyte run pipeline.yaml > first.json
expect "the first file" "100|5050" "$(rows)"

{ echo id,note; seq 101 200 | sed 's/$/,b/'; } | gzip > in/b.csv.gz
rapidbyte run pipeline.yaml > second.json
expect "the new file alone" 100 "$(json second.json streams.0.records_written)"
expect "both" "200|20100" "$(rows)"

touch in/a.csv
rapidbyte run pipeline.yaml > third.json
expect "nothing new" "0 succeeded" "$(json third.json streams.0.records_written) $(json third.json status)"

{ echo id,note; seq 201 300 | sed 's/$/,c/'; } > in/c.csv
expect_exit 137 env RAPIDBYTE_FAILPOINT=pub.commit_before=exit rapidbyte run pipeline.yaml > killed.json
expect "nothing of a run that was killed" "200|20100" "$(rows)"
rapidbyte run pipeline.yaml > fourth.json
expect "all of it with the next one" "300|45150" "$(rows)"
expect "no row twice" 0 "$(dest_sql "SELECT count(*) - count(DISTINCT id) FROM raw.orders")"

echo 999,late >> in/a.csv
expect_exit 3 rapidbyte run pipeline.yaml > changed.json 2> changed.txt
expect_text "the changed file is named" "in/a.csv: changed since it was loaded" changed.txt
expect "nothing was loaded" "300|45150" "$(rows)"
rapidbyte state show pipeline.yaml --output json > state.json
expect "the ledger's files" "in/a.csv in/b.csv.gz in/c.csv" \
    "$(for i in 0 1 2; do json state.json cursors.0.files.$i.path; done | paste -sd' ')"
rapidbyte run pipeline.yaml --full-refresh > refreshed.json
expect "all anew" "301|46149" "$(rows)"
rapidbyte run pipeline.yaml > last.json
expect "and nothing after that" 0 "$(json last.json streams.0.records_written)"
expect_clean
