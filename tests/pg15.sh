#!/usr/bin/env bash
# Runs a command, the tests, against a throwaway PostgreSQL 15 (PG_MAJOR=16 for another) on a Unix socket of its own.
#
#   tests/pg15.sh .venv/bin/pytest tests/postgres
#
# PostgreSQL refuses to run as root: root runs it as the user postgres. Without the binaries nothing is done, with a
# word about it; set PG_BIN where they are elsewhere.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin="${PG_BIN:-/usr/lib/postgresql/${PG_MAJOR:-15}/bin}"
if [ ! -x "$bin/initdb" ]; then
    echo "PostgreSQL ${PG_MAJOR:-15} is not installed ($bin): its tests are left out"
    exit 0
fi

# In memory where there is room, as the tests' own server: see make_folder in tests/kit/server.py.
folder=$(.venv/bin/python -c 'from tests.kit.server import make_folder; print(make_folder())')
chmod 0755 "$folder"
as_server=()
if [ "$(id -u)" = 0 ]; then
    chown postgres "$folder"
    as_server=(runuser -u postgres --)
fi

stop() {
    cd /
    "${as_server[@]}" "$bin/pg_ctl" -s -D "$folder/data" -m immediate stop 2>/dev/null || true
    rm -rf "$folder"
}
trap stop EXIT

configuration=$(.venv/bin/python -c 'from tests.kit.server import CONFIGURATION; print(CONFIGURATION)')
passwords=$(.venv/bin/python -c 'from tests.kit.server import HBA; print(HBA)')

(
    cd "$folder"
    "${as_server[@]}" "$bin/initdb" -D data -U postgres -E UTF8 --locale=C.UTF-8 --auth=trust >initdb.log
    "${as_server[@]}" tee -a data/postgresql.conf >/dev/null <<<"$configuration
listen_addresses = ''
unix_socket_directories = '$folder'
port = 5432"
    printf '%s\n%s\n' "$passwords" "$(cat data/pg_hba.conf)" >hba
    "${as_server[@]}" cp hba data/pg_hba.conf
    "${as_server[@]}" "$bin/pg_ctl" -s -w -D data -l "$folder/start.log" start || { cat start.log >&2; exit 1; }
)

export RAPIDBYTE_TEST_DSN="postgresql://postgres@/postgres?host=$folder&port=5432"
export RAPIDBYTE_TEST_LOG="$folder/data/log_json/server.json"
"$bin/psql" -XAt "$RAPIDBYTE_TEST_DSN" -c "SELECT 'testing on PostgreSQL ' || current_setting('server_version')"
"$@"
