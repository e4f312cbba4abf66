. "$SCENARIOS/lib.sh"

rapidbyte run pipeline.yaml > result.json
expect "columns of the target" "age,id,E-Mail" \
    "$(dest_sql "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'raw.adults'::regclass AND attnum > 0")"
expect "rows" "$(checksum "$SOURCE_DSN" "users WHERE age >= 18" 'age, id, "E-Mail"')" "$(checksum "$DEST_DSN" raw.adults)"
expect "query" "$(checksum "$SOURCE_DSN" "(SELECT age, count(*) FROM users GROUP BY age) q")" "$(checksum "$DEST_DSN" raw.by_age)"

# A target of the user's own: other order, one column more.
dest_sql "TRUNCATE raw.by_age; DROP TABLE raw.adults; CREATE TABLE raw.adults (note text DEFAULT 'none', \"E-Mail\" text, id integer, age smallint)"
rapidbyte run pipeline.yaml > result.json
expect "rows" "$(checksum "$SOURCE_DSN" "users WHERE age >= 18" 'age, id, "E-Mail"')" "$(checksum "$DEST_DSN" raw.adults 'age, id, "E-Mail"')"
expect "the column that is not loaded has its default" none "$(dest_sql "SELECT DISTINCT note FROM raw.adults")"

before=$(checksum "$DEST_DSN" raw.adults)
expect_exit 2 rapidbyte run pipeline.yaml --set 'source.streams[0].columns=[age, id, mail]' > wrong.json 2> wrong.txt
expect_text "the column is named" mail wrong.txt
expect "nothing was changed" "$before" "$(checksum "$DEST_DSN" raw.adults)"

# Without `columns`: the generated column arrives as a plain one, with a warning.
rapidbyte run pipeline.yaml --stream users --set 'source.streams[0].columns=[id, twice]' --set source.streams[0].target=doubles > generated.json
expect "the generated column" "$(checksum "$SOURCE_DSN" "users WHERE age >= 18" "id, twice")" "$(checksum "$DEST_DSN" raw.doubles)"
expect_text "and the warning" twice generated.json
expect_clean
