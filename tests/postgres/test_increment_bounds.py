"""From where to where an increment goes, for each type of cursor, and what it never brings twice or leaves out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rapidbyte.cursor import CursorLag, StoredCursor
from rapidbyte.errors import ConfigError, DataError
from rapidbyte.spec import StreamSpec
from tests.postgres.increments import Increments, by

Connect = Callable[..., Any]

CURSORS = [
    # type, the first rows, those that come later, how far the first increment goes
    ("smallint", ["-32768", "5"], ["6", "10", "32767"], "5"),
    ("integer", ["-1", "7"], ["8"], "7"),
    ("bigint", ["-9223372036854775808", "9007199254740993"], ["9007199254740994"], "9007199254740993"),
    ("numeric", ["1.5", "1.50", "0.1"], ["1.51", "1e30"], "1.5"),
    ("numeric(20,10)", ["0.0000000001", "0.0000000002"], ["0.0000000003"], "0.0000000002"),
    ("uuid", ["00000000-0000-7000-8000-000000000001"], ["01900000-0000-7000-8000-000000000000"], None),
    ("text", ["", "A", "ä", "'; drop table t; --"], ["ö", "öz"], "ä"),
    ("varchar(10)", ["a", "b"], ["c"], "b"),
    ("whole", ["1", "2"], ["3"], "2"),
    ("word", ["a", "b"], ["c"], "b"),
]


@pytest.mark.parametrize(("kind", "first", "later", "high"), CURSORS, ids=[each[0] for each in CURSORS])
def test_values_are_read_once_up_to_the_greatest(
    source_db: str, connect: Connect, kind: str, first: list[str], later: list[str], high: str | None
):
    """The server orders them, and keeps its text: nothing of a float in between (E5, B26)."""
    session = connect(source_db)
    session.execute(
        'CREATE DOMAIN whole AS int CHECK (value > 0); CREATE DOMAIN inner_word AS text COLLATE "C";'
        "CREATE DOMAIN word AS inner_word CHECK (value <> '')"
    )
    session.execute(f"CREATE TABLE t (c {kind})")
    stream = Increments(source_db, by("c"))
    assert stream.take() == []
    assert stream.stored is None
    for value in first:
        session.execute(f"INSERT INTO t VALUES (%s::text::{kind})", (value,))
    assert len(stream.take()) == len(first)
    assert stream.stored is not None
    if high is not None:
        assert session.execute(f"SELECT %s::{kind} = %s::{kind}", (stream.stored.value, high)).fetchone() == (True,)
    assert stream.take() == []
    for value in later:
        session.execute(f"INSERT INTO t VALUES (%s::text::{kind})", (value,))
    assert len(stream.take()) == len(later)
    assert stream.take() == []


TIMES = ["timestamptz", "timestamp", "timestamptz(0)", "timestamp(3)", "moment"]


@pytest.mark.parametrize("kind", TIMES)
def test_times_are_read_once_up_to_the_source_s_clock(source_db: str, connect: Connect, kind: str):
    """Exclusive, in the column's unit; rows at or after it wait; one of 2099 stops nothing, and is told (E6)."""
    session = connect(source_db)
    session.execute("CREATE DOMAIN moment AS timestamptz(2)")
    session.execute(f"CREATE TABLE t (id int, c {kind})")
    session.execute("INSERT INTO t VALUES (1, '-infinity'), (2, 'epoch'), (3, now() - interval '2 s')")
    session.execute("INSERT INTO t VALUES (4, '2099-01-01'), (5, 'infinity')")
    stream = Increments(source_db, by("c", columns=("id", "c")))
    bounds = stream.bounds()
    assert (bounds.low, bounds.low_inclusive, bounds.high_inclusive) == (None, True, False)
    assert bounds.warnings == ("rows whose c lies in the future wait until it has passed",)
    assert [row.split("\t")[0] for row in stream.take()] == ["1", "2", "3"]
    assert stream.stored is not None
    whole = session.execute(f"SELECT %s::{kind}::text = %s", (stream.stored.value, stream.stored.value)).fetchone()
    assert whole == (True,)
    assert stream.take() == []
    before = stream.stored
    session.execute(f"INSERT INTO t SELECT 6, %s::{kind}", (stream.stored.value,))
    taken: list[str] = []
    while not taken:
        taken = stream.take()
    assert [row.split("\t")[0] for row in taken] == ["6"]
    assert stream.stored != before


def test_a_time_without_a_zone_is_never_behind_its_writers(source_db: str, connect: Connect):
    """The server's zone is hours ahead of the writers' here: an end by its clock would lose what they write next."""
    session = connect(source_db)
    session.execute("CREATE TABLE t (id int, c timestamp DEFAULT now())")
    stream = Increments(source_db, by("c", columns=("id", "c")))
    taken: list[str] = []
    for number in range(5):
        session.execute("INSERT INTO t VALUES (%s)", (number,))
        taken += [row.split("\t")[0] for row in stream.take()]
    assert taken == ["0", "1", "2", "3", "4"]


def test_rows_of_today_wait_until_tomorrow(source_db: str, connect: Connect):
    """A date's unit is the day, in the zone in which the server's sessions begin."""
    session = connect(source_db)
    session.execute("SET TimeZone = 'Asia/Kathmandu'")
    session.execute("CREATE TABLE t AS SELECT i AS id, current_date + i AS c FROM generate_series(-3, 1) i")
    zone = session.execute("SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'").fetchone()
    stream = Increments(source_db, by("c"))
    if connect(source_db, options="").execute("SHOW TimeZone").fetchone() != ("Asia/Kathmandu",):
        pytest.skip(f"the server's zone is another: {zone}")
    assert [row.split("\t")[0] for row in stream.take()] == ["-1", "-2", "-3"]
    assert stream.bounds().warnings == ("rows whose c lies in the future wait until it has passed",)
    session.execute("INSERT INTO t SELECT 9, current_date - 1")
    assert stream.take() == []


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_what_nothing_can_come_after_is_no_bound(source_db: str, connect: Connect, value: str):
    """One such row would end all later loads: it waits, with a warning (E6)."""
    session = connect(source_db)
    session.execute("CREATE TABLE t (c numeric)")
    session.execute("INSERT INTO t VALUES (%s)", (value,))
    stream = Increments(source_db, by("c"))
    assert stream.bounds().is_empty
    session.execute("INSERT INTO t VALUES (1), (2), ('-Infinity')")
    warning = "rows whose c is infinite or NaN are not loaded: nothing can come after them"
    assert stream.bounds().warnings == (warning,)
    assert stream.take() == ["-Infinity", "1", "2"]
    session.execute("INSERT INTO t VALUES (3)")
    assert stream.take() == ["3"]


def test_a_bound_never_moves_backwards(source_db: str, connect: Connect):
    """Not when the greatest rows are deleted, not when the stored time is ahead of the clock (E6)."""
    session = connect(source_db)
    session.execute("CREATE TABLE t AS SELECT i AS id, now() AS at FROM generate_series(1, 9) i")
    numbers = Increments(source_db, by("id"))
    assert len(numbers.take()) == 9
    session.execute("DELETE FROM t WHERE id > 5")
    assert (numbers.take(), numbers.bounds().high) == ([], None)
    ahead = StoredCursor(field="at", type="timestamp with time zone", value="2099-01-01 00:00:00+00")
    times = Increments(source_db, by("at"), stored=ahead)
    assert (times.bounds().is_empty, times.bounds().low) == (True, "2099-01-01 00:00:00+00")
    lagging = Increments(source_db, by("at"), stored=ahead, lag=CursorLag(seconds=10 * 365 * 86400.0 * 9))
    bounds = lagging.bounds()
    assert bounds.high == "2099-01-01 00:00:00+00"
    assert bounds.low is not None
    assert bounds.low < "2020"


@pytest.mark.parametrize(
    ("kind", "stored", "lag", "low"),
    [
        ("bigint", "100", CursorLag(count=10), "90"),
        ("smallint", "-32760", CursorLag(count=8), "-32768"),
        ("smallint", "-32760", CursorLag(count=9), None),
        ("bigint", "9223372036854775807", CursorLag(count=1), "9223372036854775806"),
        ("numeric", "1.25", CursorLag(count=1), "0.25"),
        ("timestamptz", "2026-03-01 00:00:00.000001+00", CursorLag(seconds=0.5), "2026-02-28 23:59:59.500001+00"),
        ("timestamp", "2026-03-01 00:00:00", CursorLag(seconds=86400.0), "2026-02-28 00:00:00"),
        ("date", "2026-03-01", CursorLag(seconds=1.0), "2026-02-28"),
        ("date", "2026-03-01", CursorLag(seconds=86400.0), "2026-02-28"),
    ],
)
def test_a_lag_reads_again_what_lies_below(
    source_db: str, connect: Connect, kind: str, stored: str, lag: CursorLag, low: str | None
):
    """The server subtracts, in the column's type; below its least value is the beginning."""
    session = connect(source_db)
    session.execute(f"CREATE TABLE t (c {kind})")
    session.execute(f"INSERT INTO t VALUES (%s::text::{kind})", (stored,))
    name = session.execute("SELECT format_type(%s::regtype, NULL)", (kind,)).fetchone()
    assert name is not None
    stream = Increments(source_db, by("c"), lag=lag, stored=StoredCursor(field="c", type=name[0], value=stored))
    bounds = stream.bounds()
    assert (bounds.low, bounds.stored) == (low, stored)
    assert bounds.high == stored or kind in ("timestamptz", "timestamp", "date")
    assert stream.take() == [stored]


def test_null_cursors_fail_are_left_out_or_come_every_time(source_db: str, connect: Connect):
    """By the policy; NULLs that the stream's condition leaves out are none of its rows."""
    session = connect(source_db)
    session.execute("CREATE TABLE t (id int, c int)")
    session.execute("INSERT INTO t VALUES (1, 1), (2, NULL), (3, NULL)")
    with pytest.raises(DataError) as raised:
        Increments(source_db, by("c")).bounds()
    assert (raised.value.code, raised.value.exit_code) == ("null_cursor", 5)
    assert Increments(source_db, by("c", where="id < 2")).take() == ["1\t1"]
    skipping = Increments(source_db, by("c"), nulls="skip")
    assert skipping.bounds().warnings == ("rows whose c is NULL are left out",)
    assert [skipping.take(), skipping.take()] == [["1\t1"], []]
    always = Increments(source_db, by("c"), nulls="always")
    assert always.take() == ["1\t1", "2\t\\N", "3\t\\N"]
    assert always.take() == ["2\t\\N", "3\t\\N"]
    assert always.stored == StoredCursor(field="c", type="integer", value="1")
    session.execute("INSERT INTO t VALUES (4, 4)")
    assert always.take() == ["2\t\\N", "3\t\\N", "4\t4"]
    session.execute("DELETE FROM t WHERE c IS NULL")
    assert (always.take(), always.bounds().is_empty) == ([], True)


@pytest.mark.parametrize("kind", ["view", "query", "partitioned", "materialized view"])
def test_everything_that_has_the_column_can_be_read_by_it(source_db: str, connect: Connect, kind: str):
    """Views and queries too; functions in them are found as the role finds them."""
    session = connect(source_db)
    session.execute(
        """
        CREATE TABLE p (id int, c int) PARTITION BY LIST (id);
        CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
        CREATE TABLE p2 PARTITION OF p DEFAULT;
        INSERT INTO p SELECT i, i FROM generate_series(1, 5) i;
        CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE VIEW v AS SELECT id, c FROM p WHERE c > one();
        CREATE MATERIALIZED VIEW m AS SELECT * FROM p;
        """
    )
    spec = {
        "view": by("c", "v"),
        "query": by("c", "q", query="SELECT c, id FROM p WHERE c > one()"),
        "partitioned": by("c", "p"),
        "materialized view": by("c", "m"),
    }[kind]
    stream = Increments(source_db, spec)
    assert [row.split("\t")[0] for row in stream.take()] == [str(i) for i in range(1, 6) if i > 1 or kind[0] in "pm"]
    session.execute("INSERT INTO p VALUES (6, 6), (7, 7); REFRESH MATERIALIZED VIEW m")
    assert [row.split("\t")[0] for row in stream.take()] == ["6", "7"]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"cursor_field": "nope"}, "there is no column 'nope' (`cursor_field`)"),
        ({"cursor_field": "f"}, "`cursor_field` 'f' is double precision, by which rows cannot be ordered exactly"),
        ({"cursor_field": "j"}, "`cursor_field` 'j' is jsonb, by which rows cannot be ordered exactly"),
        ({"cursor_field": "c", "tie_breaker_field": "f"}, "`tie_breaker_field` 'f' is double precision"),
        ({"cursor_field": "c", "columns": ("f",)}, "there is no column 'c' (`cursor_field`)"),
    ],
)
def test_what_cannot_be_a_cursor_is_refused(source_db: str, connect: Connect, keys: dict[str, object], says: str):
    """Before anything is read: not among the columns, or of a type without an exact order (A7)."""
    connect(source_db).execute("CREATE TABLE t (c int, f float8, j jsonb)")
    spec = StreamSpec(name="t", sync_mode="incremental", **keys)  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as raised:
        Increments(source_db, spec).plan()
    assert says in raised.value.message


def test_the_shape_tells_the_index(source_db: str, connect: Connect):
    """A complete index that leads with the cursor; a partial one, or one that has it second, is none."""
    session = connect(source_db)
    session.execute("CREATE TABLE t (id int, c timestamp(3) NOT NULL)")
    session.execute("CREATE INDEX part ON t (c) WHERE id > 0; CREATE INDEX second ON t (id, c)")
    cursor = Increments(source_db, by("c", tie_breaker_field="id")).plan().shape.cursor
    assert cursor is not None
    assert (cursor.index, cursor.precision, cursor.nullable, cursor.tie_breaker) == (None, 3, False, "id")
    session.execute("CREATE INDEX led ON t (c DESC, id)")
    cursor = Increments(source_db, by("c")).plan().shape.cursor
    assert cursor is not None
    assert cursor.index == "led"


def test_another_column_s_bound_is_not_used(source_db: str, connect: Connect):
    """Also where the ledger changed after the plan was made."""
    connect(source_db).execute("CREATE TABLE t (c int)")
    stream = Increments(source_db, by("c"))
    plan = stream.plan()
    stream.stored = StoredCursor(field="d", type="integer", value="3")
    with pytest.raises(ConfigError) as raised:
        stream.bounds(plan)
    assert raised.value.code == "cursor_changed"
