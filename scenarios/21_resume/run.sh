. "$SCENARIOS/lib.sh"

for part in 0 1 2 3 4 5 6 7; do
    python3 -c '
import sys
part = int(sys.argv[1])
print("id,note")
for row in range(part * 1000, part * 1000 + 1000):
    print(f"{row},note {row}")' $part > part-$part.csv
done
dest_sql "CREATE SCHEMA raw; CREATE TABLE raw.rows (id bigint, note text); INSERT INTO raw.rows VALUES (-1, 'before')"

RAPIDBYTE_FAILPOINT="w.commit_acked#3=exit" expect_exit 137 rapidbyte run pipeline.yaml --key K > result.json 2> errors.txt
expect "nothing is published" 1 "$(dest_sql "SELECT count(*) FROM raw.rows")"
expect "three partitions are committed" 3 "$(dest_sql "SELECT count(*) FROM _rapidbyte.receipts")"

expect_exit 0 rapidbyte run pipeline.yaml --key K > result.json
expect "planned, read now, read before" "8 5 3" "$(json result.json streams.0.partitions.total) \
$(json result.json streams.0.partitions.loaded) $(json result.json streams.0.partitions.resumed)"
expect "all rows, each once" "8001 8001" "$(dest_sql "SELECT count(*) || ' ' || count(DISTINCT id) FROM raw.rows")"
expect "as the result says" 8000 "$(json result.json records_written)"
expect_clean

expect_exit 0 rapidbyte run pipeline.yaml --key K > result.json 2> errors.txt
expect "the key is known" "succeeded 0" "$(json result.json status) $(json result.json records_written)"
expect_text "and it is told" "under the same key" errors.txt
expect "nothing is appended twice" 8001 "$(dest_sql "SELECT count(*) FROM raw.rows")"
expect_clean
