. "$SCENARIOS/lib.sh"

rows() { dest_sql "SELECT count(*), sum(id), min(_file), max(_line) FROM raw.numbers"; }
numbers() { echo id,note; seq 1 50000 | sed 's/$/,some text that makes it longer/'; }

numbers | rapidbyte run pipeline.yaml > piped.json
expect "a pipe" "50000|1250025000|standard input|50001" "$(rows)"
expect "one partition" 1 "$(json piped.json streams.0.partitions.total)"

dest_sql "TRUNCATE raw.numbers"
numbers > numbers.csv
rapidbyte run pipeline.yaml < numbers.csv > file.json
expect "a file" "50000|1250025000|standard input|50001" "$(rows)"

dest_sql "TRUNCATE raw.numbers"
numbers | gzip | rapidbyte run pipeline.yaml > gzip.json
expect "a compressed pipe" "50000|1250025000|standard input|50001" "$(rows)"

seq 1 10 | sed 's/.*/{"id": &, "note": "x"}/' | FORMAT=ndjson rapidbyte run pipeline.yaml > ndjson.json
expect "NDJSON" "10|55|standard input|10" "$(rows)"

expect_exit 3 rapidbyte run pipeline.yaml < /dev/null > empty.json 2> empty.txt
expect_text "nothing to read" "standard input" empty.txt
numbers | gzip > whole.gz
head -c 1000 whole.gz > broken.gz
expect_exit 3 rapidbyte run pipeline.yaml < broken.gz > broken.json 2> broken.txt
expect_text "a broken archive" "standard input cannot be read to its end" broken.txt
{ numbers; echo "7,a,b"; } > bad.csv
expect_exit 5 rapidbyte run pipeline.yaml < bad.csv > bad.json 2> bad.txt
expect_text "a bad line is named" "standard input, line 50002: 3 fields where 2 are due" bad.txt
expect "what was there stays" "10|55|standard input|10" "$(rows)"
expect_clean
