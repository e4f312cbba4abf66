. "$SCENARIOS/lib.sh"

dest_sql "
CREATE TABLE public.ddl_log (at timestamptz DEFAULT clock_timestamp(), who text, tag text);
CREATE FUNCTION public.note_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.ddl_log (who, tag) VALUES (current_setting(''application_name''), tg_tag); END';
CREATE EVENT TRIGGER note_ddl ON ddl_command_end EXECUTE FUNCTION public.note_ddl();
CREATE EVENT TRIGGER note_drop ON sql_drop EXECUTE FUNCTION public.note_ddl();"
dest_sql "DO \$\$ BEGIN EXECUTE format('ALTER DATABASE %I SET log_statement = %L', current_database(), 'all'); END \$\$"

for round in 1 2; do
    rapidbyte run pipeline.yaml > result.json
    expect "round $round" "$((round * 40000)) 10000" "$(dest_sql "SELECT (SELECT count(*) FROM raw.a) || ' ' || (SELECT count(*) FROM raw.b)")"
done
expect "who ran DDL" "rapidbyte leader who" "$(dest_sql "SELECT string_agg(DISTINCT who, ', ') FROM ddl_log WHERE tag NOT LIKE '%DATABASE'")"
expect "the log is not empty" t "$(dest_sql "SELECT count(*) > 5 FROM ddl_log")"

if [ -n "${SERVER_LOG:-}" ]; then
    serverlog "$DEST_DSN" "rapidbyte" > log.txt
    expect "who was there" "rapidbyte leader who,rapidbyte worker-0 who,rapidbyte worker-1 who" "$(cut -d'|' -f1 log.txt | sort -u | paste -sd,)"
    expect "what workers ran that is neither COPY nor a receipt nor the transaction" "" \
        "$(grep '^rapidbyte worker' log.txt | cut -d'|' -f3 | sed 's/; /\n/g' | grep -Ev '^(BEGIN|COMMIT|ROLLBACK|SET LOCAL|COPY |SELECT |INSERT INTO "?_rapidbyte"?."?receipts"?)' || true)"
    expect "no TRUNCATE" "" "$(grep -i '|TRUNCATE' log.txt || true)"
fi
expect_clean
