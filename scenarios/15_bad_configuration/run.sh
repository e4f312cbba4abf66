. "$SCENARIOS/lib.sh"

unchanged="nothing was changed"
state() { dest_sql "SELECT string_agg(nspname, ',') FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')"; }

wrong=0
for file in bad/*.yaml; do
    read -r _ place text < "$file"
    code=0
    rapidbyte run "$file" > out.json 2> err.txt || code=$?
    what="$file (expected exit 2, at $place, with: $text)"
    if [ "$code" != 2 ]; then echo "FAILED: $what: exit $code"; sed 's/^/  | /' err.txt; wrong=$((wrong + 1)); fi
    if [ "$place" != - ] && ! grep -qF "$file:$place:" err.txt; then echo "FAILED: $what: the place"; sed 's/^/  | /' err.txt; wrong=$((wrong + 1)); fi
    if ! grep -qF -- "$text" err.txt; then echo "FAILED: $what: the text"; sed 's/^/  | /' err.txt; wrong=$((wrong + 1)); fi
    if grep -q Traceback out.json err.txt || grep -qE 'hunter2|canary-in-a-row' out.json err.txt; then
        echo "FAILED: $what: shows a traceback or a secret"; sed 's/^/  | /' err.txt; wrong=$((wrong + 1))
    fi
    if [ "$(json out.json status) $(json out.json error.category)" != "failed config" ]; then
        echo "FAILED: $what: the JSON"; cat out.json; wrong=$((wrong + 1))
    fi
    expect "$file: $unchanged" "" "$(state)"
done
expect "files that were not refused as they should be" 0 $wrong
expect "the source still has its tables" 2 "$(source_sql "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")"

expect_exit 2 rapidbyte run no/such/file.yaml > out.json 2> err.txt
expect_text "a missing file" no/such/file.yaml err.txt
expect_exit 2 rapidbyte run pipeline.yaml --steam users > out.json 2> err.txt
expect_text "a misspelt option" --stream err.txt
expect_exit 2 rapidbyte run pipeline.yaml --stream nobody > out.json 2> err.txt
expect_text "an unknown stream" nobody err.txt
expect_exit 2 rapidbyte run pipeline.yaml --workers 0 > out.json 2> err.txt
expect_exit 2 rapidbyte run pipeline.yaml --result /no/such/folder/result.json > out.json 2> err.txt
expect_exit 2 env -u DEST_DSN rapidbyte run pipeline.yaml > out.json 2> err.txt
expect_text "an unset variable" DEST_DSN err.txt
expect_exit 2 env DEST_DSN= rapidbyte run pipeline.yaml > out.json 2> err.txt
expect_text "an empty variable" DEST_DSN err.txt
expect "$unchanged" "" "$(state)"

# All of several faults at once.
printf 'version: 1.0\npipelin: x\nsource: {use: postgres, config: {dsn: x}, streams: [{nam: y}]}\ndestination: {use: postgres, config: {dsn: x}, write_mod: append}\n' > four.yaml
expect_exit 2 rapidbyte run four.yaml > out.json 2> err.txt
for place in 1:10 2:1 3:54 4:48; do expect_text "four faults: $place" "four.yaml:$place:" err.txt; done

# The servers: unreachable, no such database, wrong password.
expect_exit 4 env DEST_DSN=postgresql://bob:hunter2@127.0.0.1:1/x rapidbyte run pipeline.yaml > out.json 2> err.txt
expect "no secret" "" "$(grep -l hunter2 out.json err.txt || true)"
expect_exit 3 env SOURCE_DSN=postgresql://bob:hunter2@127.0.0.1:1/x rapidbyte run pipeline.yaml > out.json 2> err.txt
expect "no secret" "" "$(grep -l hunter2 out.json err.txt || true)"
expect "$unchanged" "" "$(state)"
