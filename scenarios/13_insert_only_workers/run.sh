. "$SCENARIOS/lib.sh"

worker=${ROLE}_worker
dest_sql "CREATE ROLE $worker LOGIN PASSWORD 'only insert' IN ROLE rapidbyte_test_passwords"
dest_sql "DO \$\$ BEGIN EXECUTE format('ALTER DATABASE %I SET log_statement = %L', current_database(), 'all'); END \$\$"

# A wrong password of the workers' login is told before anything is loaded.
WORKER_PASSWORD=wrong expect_exit 4 timeout 30 rapidbyte run pipeline.yaml > wrong.json 2> wrong.txt
expect "no secret is shown" "" "$(grep -l 'wrong' wrong.json wrong.txt | xargs -r grep -l 'password.*wrong$' || true)"

export WORKER_PASSWORD='only insert'
for round in 1 2; do
    rapidbyte run pipeline.yaml > result.json
    expect "round $round: things" "$(checksum "$SOURCE_DSN" things)" "$(checksum "$DEST_DSN" raw.things)"
    expect "round $round: appended" "$((round * 30000))" "$(dest_sql "SELECT count(*) FROM raw.things_again")"
done

expect "the worker's login has no rights left on tables" "" "$(dest_sql "SELECT string_agg(c.oid::regclass || ' ' || p, ', ')
    FROM pg_class c, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace::regnamespace::text IN ('raw', '_rapidbyte') AND has_table_privilege('$worker', c.oid, p)")"
expect "it owns nothing" 0 "$(dest_sql "SELECT count(*) FROM pg_class WHERE relowner = '$worker'::regrole")"
expect "the password is in no file" "" "$(grep -l 'only insert' ./*.json ./*.txt || true)"

if [ -n "${SERVER_LOG:-}" ]; then
    serverlog "$DEST_DSN" "rapidbyte" > log.txt
    expect "the workers used their login" "" "$(grep '^rapidbyte worker' log.txt | grep -v "|$worker|" || true)"
    expect "and nobody else did" "" "$(grep "|$worker|" log.txt | grep -v '^rapidbyte worker' || true)"
    expect "first words of what they ran" "BEGIN COMMIT COPY INSERT SELECT SET" \
        "$(grep "|$worker|" log.txt | cut -d'|' -f3 | sed 's/; /\n/g' | awk '{print $1}' | sed 's/;$//' | sort -u | grep -v ROLLBACK | paste -sd' ')"
fi
expect_clean
