. "$SCENARIOS/lib.sh"

schema='Odd "schema" %s {} \ $1'
quoted='"Odd ""schema"" %s {} \ $1"'
target='"raw; DROP TABLE victim"'
dest_sql "CREATE SCHEMA raw; CREATE TABLE raw.victim AS SELECT 1 AS id; CREATE TABLE public.victim AS SELECT 1 AS id"

# The pipeline, written by a program that quotes: one stream a table, as schema.table, parted at the first dot.
source_sql "SELECT E'version: \"1.0\"\npipeline: hostile\nsource:\n  use: postgres\n  config: {dsn: \"\${SOURCE_DSN}\"}\n  streams:\n'
    || string_agg(format('    - {name: %s, target: %s}', to_json(replace(schemaname || '.' || tablename, '\$', '\$\$')),
       to_json(replace('raw; DROP TABLE victim.' || tablename, '\$', '\$\$'))), E'\n')
    || E'\ndestination:\n  use: postgres\n  config: {dsn: \"\${DEST_DSN}\"}\n  write_mode: replace\n'
    FROM pg_tables WHERE schemaname = '$schema'" > pipeline.yaml

for round in 1 2; do
    rapidbyte --quiet run pipeline.yaml > result.json
    expect "round $round: all by one method" "$([ $round = 1 ] && echo rename || echo swap)" "$(grep -o '"publish": "[a-z_]*"' result.json | sort -u | cut -d'"' -f4 | paste -sd,)"
    expect "round $round: rows" 2700 "$(json result.json records_written)"
done
source_sql "SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = '$schema'" | while IFS= read -r table; do
    expect "$table" "$(checksum "$SOURCE_DSN" "$quoted.$table")" "$(checksum "$DEST_DSN" "$target.$table")"
done
expect "tables" "$(source_sql "SELECT string_agg(tablename, '|' ORDER BY tablename COLLATE \"C\") FROM pg_tables WHERE schemaname = '$schema'")" \
    "$(dest_sql "SELECT string_agg(tablename, '|' ORDER BY tablename COLLATE \"C\") FROM pg_tables WHERE schemaname = 'raw; DROP TABLE victim'")"
expect "the victims are there" 2 "$(dest_sql "SELECT count(*) FROM pg_tables WHERE tablename = 'victim'")"
expect_clean
