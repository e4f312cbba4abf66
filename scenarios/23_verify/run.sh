. "$SCENARIOS/lib.sh"

expect_exit 9 rapidbyte verify pipeline.yaml > nothing.json
expect "no target yet" "null null" "$(for i in 0 1; do json nothing.json streams.$i.source_rows; done | paste -sd' ')"

rapidbyte run pipeline.yaml > first.json
rapidbyte run pipeline.yaml > second.json
expect_exit 0 rapidbyte verify pipeline.yaml > equal.json
expect "rows" "20000 20000 1000 2000" "$(for i in 0 1; do json equal.json streams.$i.source_rows; json equal.json streams.$i.destination_rows; done | paste -sd' ')"

dest_sql "DELETE FROM raw.orders WHERE id = 7; INSERT INTO raw.orders (id) VALUES (20001);
    UPDATE raw.orders SET doc = doc || '{\"m\": 1}' WHERE id = 11111"
expect_exit 9 rapidbyte verify pipeline.yaml > different.json
expect "which" "7 11111 20001" "$(for i in 0 1 2; do json different.json streams.0.keys.$i.key.id; done | paste -sd' ')"
expect "how" "missing different extra" "$(for i in 0 1 2; do json different.json streams.0.keys.$i.kind; done | paste -sd' ')"
expect "the other stream" "true" "$(json different.json streams.1.equal)"
expect_exit 9 rapidbyte verify pipeline.yaml --output text > different.txt
expect_text "the text names the key" "different: id = 11111" different.txt
expect_exit 0 rapidbyte verify pipeline.yaml --stream log > log.json
expect_clean
