. "$SCENARIOS/lib.sh"

# A type of the user's own that the destination lacks is refused, with the statement that would help.
expect_exit 2 rapidbyte run pipeline.yaml > refused.json 2> refused.txt
expect_text "the missing type is created by" "CREATE TYPE" refused.txt
expect "nothing was loaded" "" "$(dest_sql "SELECT to_regclass('raw.types')")"

dest_sql "CREATE SCHEMA app; CREATE TYPE app.\"Mood\" AS ENUM ('sad', 'it''s ok', 'glücklich');
    CREATE DOMAIN app.positive AS integer CHECK (VALUE > 0);
    CREATE TYPE app.address AS (street text, number integer, tags text[])"
rapidbyte run pipeline.yaml --checksum > result.json

for table in types more_types own_types; do
    expect "$table" "$(checksum "$SOURCE_DSN" $table)" "$(checksum "$DEST_DSN" raw.$table)"
done
shape="SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull, ', ' ORDER BY attnum)
    FROM pg_attribute WHERE attnum > 0 AND attrelid ="
expect "columns and their types" "$(source_sql "$shape 'types'::regclass")" "$(dest_sql "$shape 'raw.types'::regclass")"
expect "columns and their types, more" "$(source_sql "$shape 'more_types'::regclass")" "$(dest_sql "$shape 'raw.more_types'::regclass")"
expect "the 24 columns go undecoded" binary-relay "$(json result.json streams.0.wire)"
expect "types of the user's own go as text" text-relay "$(json result.json streams.2.wire)"
expect "nothing is lossy" "[]" "$(json result.json streams.0.lossy_columns)"
expect "a month stays a month" "1 mon" "$(dest_sql "SELECT an_interval FROM raw.types WHERE id = 3")"
expect "jsonb keeps its numbers" "t" "$(dest_sql "SELECT (a_jsonb ->> 'n')::numeric = 1e400 FROM raw.types WHERE id = 2")"
expect "json keeps its spelling" '{"b": 1, "a":  1, "a": 2}' "$(dest_sql "SELECT a_json FROM raw.types WHERE id = 2")"
expect_clean
