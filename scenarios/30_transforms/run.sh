. "$SCENARIOS/lib.sh"

export MASK_KEY=0123456789abcdef
printf 'CustomerId,E-Mail,amount\n1,A@x.de,1.10\n2,b@x.de,0.50\n3,"c\n@x.de",99.99\n' > customers.csv

rapidbyte plan pipeline.yaml --output json > plan.json
expect "columns after the transforms" "id bigint, email text, amount numeric" "$(python3 -c '
import json; s = json.load(open("plan.json"))["streams"][0]
print(", ".join(c["name"] + " " + c["target_type"] for c in s["columns"]))')"

rapidbyte run pipeline.yaml --dry-run --output text > sample.txt
expect_text "a dry run shows rows after the transforms" "99.99" sample.txt
rapidbyte run pipeline.yaml > result.json
expect "read and written" "3 2" "$(json result.json streams.0.records_read) $(json result.json streams.0.records_written)"
hash=$(printf 'a@x.de' | openssl dgst -sha256 -hmac "$MASK_KEY" | sed 's/.* //')
expect "hashed as anybody who has the key would" "1|$hash|1.10" "$(dest_sql "SELECT * FROM raw.customers WHERE id = 1")"

printf '4,nobody,1.00\n4,,1.00\n' >> customers.csv
expect_exit 5 rapidbyte run pipeline.yaml > broken.json 2> broken.txt
expect "the rule is told" "rule_violated 6" "$(json broken.json error.code) $(json broken.json error.line)"
expect_text "with its line" "customers.csv, line 6" broken.txt
expect "the target is as it was" "2" "$(dest_sql "SELECT count(*) FROM raw.customers")"

source_sql "CREATE TABLE orders AS SELECT i AS id, i % 3 AS kind, i * 0.01 AS amount FROM generate_series(1, 5000) i"
rapidbyte run totals.yaml > totals.json
expect "one partition" "1" "$(json totals.json streams.0.partitions.total)"
expect "whole groups" "$(source_sql "SELECT kind, count(*) FROM orders GROUP BY kind ORDER BY kind")" \
    "$(dest_sql "SELECT kind, n FROM raw.orders ORDER BY kind")"
expect_clean
