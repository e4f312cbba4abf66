. "$SCENARIOS/lib.sh"

worker=${ROLE}_worker
dest_sql "CREATE ROLE $worker LOGIN PASSWORD 'only insert' IN ROLE rapidbyte_test_passwords"
dest_sql "CREATE SCHEMA raw; CREATE TABLE raw.orders (id int NOT NULL, email text, amount smallint CHECK (amount >= 0))"

mkdir data
printf 'id,email,amount\n1,a@x,10\n2,b@x\n3,nobody,30\n4,d@x,-4\n5,"e\n@x",50\n' > data/1.csv
printf 'id,email,amount\n6,f@x,60\n7,g@x,many\n8,h@x,99999\n9,i@x,90\n10,j@x,100\n' > data/2.csv

expect_exit 5 rapidbyte run pipeline.yaml > many.json 2> many.txt
expect "too many" "too_many_rejects" "$(json many.json error.code)"
expect "nothing of a load that is given up" "0 0" \
    "$(dest_sql "SELECT (SELECT count(*) FROM raw.orders) || ' ' || (SELECT count(*) FROM _rapidbyte.rejects)")"

# The first run is killed once a partition is committed; the next one goes on, and stores nothing twice.
RAPIDBYTE_FAILPOINT='join.all_done=exit' rapidbyte run pipeline.yaml --set destination.max_rejects=5 > /dev/null 2>&1 || true
rapidbyte run pipeline.yaml --set destination.max_rejects=5 > result.json
expect "read, written, rejected" "10 5 5" \
    "$(json result.json records_read) $(json result.json records_written) $(json result.json records_rejected)"
expect "what was loaded" "1,5,6,9,10" "$(dest_sql "SELECT string_agg(id::text, ',' ORDER BY id) FROM raw.orders")"
expect "where and why" "1.csv 3 22P04
1.csv 4 rule_violated
1.csv 5 23514
2.csv 3 22P02
2.csv 4 22003" "$(dest_sql "SELECT regexp_replace(file, '.*/', '') || ' ' || line || ' ' || coalesce(sqlstate, code)
    FROM _rapidbyte.rejects ORDER BY file, line")"
expect "the worker's login has no rights left on tables" "" "$(dest_sql "SELECT string_agg(c.oid::regclass || ' ' || p, ', ')
    FROM pg_class c, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace::regnamespace::text IN ('raw', '_rapidbyte') AND has_table_privilege('$worker', c.oid, p)")"

rapidbyte rejects list pipeline.yaml --output json > list.json
expect "no value is listed" "" "$(grep -o '"row"\|99999' list.json || true)"
expect_exit 2 rapidbyte rejects replay pipeline.yaml 99999999 > unknown.json
expect "its state" "waiting" "$(json list.json rejects.0.state)"

dest_sql "ALTER TABLE raw.orders DROP CONSTRAINT orders_amount_check, ALTER amount TYPE int"
expect_exit 5 rapidbyte rejects replay pipeline.yaml > replay.json
expect "loaded, refused, left" "3 0 2" "$(json replay.json loaded) $(json replay.json refused) $(json replay.json left)"
expect_exit 5 rapidbyte rejects replay pipeline.yaml > again.json
expect "none twice" "0 7 3" "$(json again.json loaded) $(dest_sql "SELECT count(*) - 1 FROM raw.orders") $(dest_sql \
    "SELECT count(*) FROM _rapidbyte.rejects WHERE replayed_at IS NOT NULL")"

expect_exit 2 rapidbyte rejects drop pipeline.yaml > unnamed.json
rapidbyte rejects drop pipeline.yaml --reason parse > drop.json
expect "dropped by reason" "1" "$(json drop.json dropped)"
rapidbyte rejects drop pipeline.yaml --stream orders > rest.json
expect "nothing left to replay" "0" "$(dest_sql "SELECT count(*) FROM _rapidbyte.rejects")"
rapidbyte rejects replay pipeline.yaml > nothing.json
expect_clean
