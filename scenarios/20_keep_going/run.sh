. "$SCENARIOS/lib.sh"

states() { echo "$(json result.json streams.0.$1) $(json result.json streams.1.$1) $(json result.json streams.2.$1)"; }

expect_exit 3 rapidbyte run pipeline.yaml --keep-going --events events.ndjson > result.json 2> errors.txt
expect "the run" partial "$(json result.json status)"
expect "each stream" "succeeded failed succeeded" "$(states status)"
expect "what is committed" "after_commit_confirmed before_commit after_commit_confirmed" "$(states commit_state)"
expect "what is there" "first 1000, last 1000" "$(dest_sql "SELECT 'first ' || (SELECT count(*) FROM raw.first) ||
    ', last ' || (SELECT count(*) FROM raw.last)")"
expect "every line of the events is an object" "run_started run_finished" "$(python3 -c '
import json
lines = [json.loads(line) for line in open("events.ndjson")]
print(lines[0]["event"], lines[-1]["event"])')"
expect "the events know the failure" "1" "$(grep -c '"event": "stream_finished".*"status": "failed"' events.ndjson)"
expect_clean

source_sql "DELETE FROM first WHERE id = 900"
expect_exit 0 rapidbyte run pipeline.yaml --failed > result.json
expect "only what failed" "inverse succeeded" "$(json result.json streams.0.name) $(json result.json streams.0.status)"
expect "nothing is appended twice" "1000 999 1000" "$(dest_sql "SELECT (SELECT count(*) FROM raw.first) || ' ' ||
    (SELECT count(*) FROM raw.inverse) || ' ' || (SELECT count(*) FROM raw.last)")"

expect_exit 0 rapidbyte run pipeline.yaml --failed > result.json 2> errors.txt
expect_text "nothing is left to do" "nothing to do" errors.txt
expect_clean
