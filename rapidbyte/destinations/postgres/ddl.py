"""Statements that create, change and drop tables, as data: composed here, run by the leader, printed by `plan`.

Names are quoted and qualified. Text that a server has printed (a type, a CHECK, the tail of an index definition)
becomes SQL through `printed` alone; it comes from a server's catalog, never from a pipeline file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import LiteralString, cast

from psycopg import sql

from rapidbyte.destinations.postgres.ledger import identifier
from rapidbyte.destinations.postgres.target import CheckFacts, Grant, IndexFacts, TargetColumn, TargetFacts
from rapidbyte.model import IDENTIFIER_BYTES, Column, QualifiedName

Statements = tuple[sql.Composed, ...]


def printed(text: str) -> sql.SQL:
    """Text of the destination's own catalog, as SQL. The only way here from text to SQL.

    The one exception: the tail of a source's index definition (`indexes: source`), which is run as one statement.
    """
    return sql.SQL(cast("LiteralString", text))


def names(columns: Iterable[str]) -> sql.Composed:
    """`"a", "b"`."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def create_schema(schema: str) -> sql.Composed:
    """CREATE SCHEMA."""
    return sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema))


def column_definition(column: Column, *, not_null_name: str | None = None) -> sql.Composed:
    """`"a" numeric(12,2) COLLATE "pg_catalog"."C" NOT NULL`."""
    parts: list[sql.Composable] = [sql.Identifier(column.name), printed(column.type.name)]
    if column.collation is not None:
        parts += [sql.SQL("COLLATE"), identifier(column.collation)]
    if not column.nullable and not_null_name is not None:
        parts += [sql.SQL("CONSTRAINT"), sql.Identifier(not_null_name)]
    if not column.nullable:
        parts.append(sql.SQL("NOT NULL"))
    return sql.SQL(" ").join(parts)


def not_null_name(table: str, column: str) -> str:
    """`<table>_<column>_not_null`, shortened to 63 bytes as the server does it: the longer of the two loses bytes.

    From version 18 such constraints have names, and a stage would leave its own in the table that it becomes.
    """
    suffix = "_not_null"
    sizes = [len(table.encode()), len(column.encode())]
    while sum(sizes) > IDENTIFIER_BYTES - len(suffix) - 1:
        sizes[0 if sizes[0] > sizes[1] else 1] -= 1
    head, tail = (
        name.encode()[:size].decode(errors="ignore") for name, size in zip((table, column), sizes, strict=True)
    )
    return f"{head}_{tail}{suffix}"


def create_table(
    table: QualifiedName,
    columns: tuple[Column, ...],
    *,
    checks: Iterable[CheckFacts] = (),
    unlogged: bool = False,
    becomes: str | None = None,
) -> sql.Composed:
    """A table with these columns and checks, without defaults, keys, identity.

    `becomes` is the name that the table will have: its NOT NULL constraints are named after it.
    """
    given = [not_null_name(becomes, column.name) if becomes is not None else None for column in columns]
    lines = [
        column_definition(column, not_null_name=name if given.count(name) == 1 else None)
        for column, name in zip(columns, given, strict=True)
    ]
    lines += [
        sql.SQL("CONSTRAINT {} {}").format(sql.Identifier(check.name), printed(check.definition)) for check in checks
    ]
    return sql.SQL("CREATE {}TABLE {} (\n  {}\n)").format(
        sql.SQL("UNLOGGED " if unlogged else ""), identifier(table), sql.SQL(",\n  ").join(lines)
    )


def create_twin(stage: QualifiedName, facts: TargetFacts) -> sql.Composed:
    """A table to take the target's place: its columns, defaults, NOT NULL, CHECK, storage parameters."""
    parameters = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(
            sql.SQL(".").join(map(sql.Identifier, name.split("."))),
            sql.Literal(value),
        )
        for name, _, value in (option.partition("=") for option in facts.options)
    )
    return sql.SQL(
        "CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION)"
        " USING heap{}"
    ).format(
        identifier(stage),
        identifier(facts.name),
        sql.SQL(" WITH ({})").format(parameters) if facts.options else sql.SQL(""),
    )


def add_column(table: QualifiedName, column: Column) -> sql.Composed:
    """ALTER TABLE ... ADD COLUMN."""
    return sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(identifier(table), column_definition(column))


def widen_column(table: QualifiedName, column: Column) -> sql.Composed:
    """ALTER TABLE ... ALTER COLUMN ... TYPE; the column keeps its collation."""
    collation = sql.SQL("") if column.collation is None else sql.SQL(" COLLATE {}").format(identifier(column.collation))
    return sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {}{}").format(
        identifier(table), sql.Identifier(column.name), printed(column.type.name), collation
    )


def add_primary_key(table: QualifiedName, key: Iterable[str]) -> sql.Composed:
    """The server names the constraint, `<table>_pkey`."""
    return sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(identifier(table), names(key))


def primary_key_name(table: str) -> str:
    """What the server calls it where that name is free: `<table>_pkey`, the table's name shortened to fit 63 bytes."""
    suffix = "_pkey"
    return table.encode()[: IDENTIFIER_BYTES - len(suffix)].decode(errors="ignore") + suffix


def primary_key_using(table: QualifiedName, index: str, name: str) -> sql.Composed:
    """An index of the table becomes its primary key's, and takes the key's name."""
    return sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} PRIMARY KEY USING INDEX {}").format(
        identifier(table), sql.Identifier(name), sql.Identifier(index)
    )


def rename_index(schema: str, index: str, name: str) -> sql.Composed:
    """Within its schema."""
    return sql.SQL("ALTER INDEX {} RENAME TO {}").format(sql.Identifier(schema, index), sql.Identifier(name))


def drop_index(table: QualifiedName, index: str) -> sql.Composed:
    """An index of the table's; without CASCADE."""
    return sql.SQL("DROP INDEX {}").format(sql.Identifier(table.schema, index))


def comment_on_index(table: QualifiedName, index: str, comment: str | None) -> sql.Composed:
    """Of an index of the table's; None takes the comment away."""
    return sql.SQL("COMMENT ON INDEX {} IS {}").format(
        sql.Identifier(table.schema, index), sql.SQL("NULL") if comment is None else sql.Literal(comment)
    )


def create_index(table: QualifiedName, name: str | None, *, unique: bool, tail: str) -> sql.Composed:
    """An index from the tail of its definition; without a name the server chooses one."""
    return sql.SQL("CREATE {}INDEX {}ON {} {}").format(
        sql.SQL("UNIQUE " if unique else ""),
        sql.SQL("{} ").format(sql.Identifier(name)) if name is not None else sql.SQL(""),
        identifier(table),
        printed(tail),
    )


def drop_table(table: QualifiedName, *, if_exists: bool = False) -> sql.Composed:
    """Without CASCADE: what depends on the table is reason to fail."""
    return sql.SQL("DROP TABLE {}{}").format(sql.SQL("IF EXISTS " if if_exists else ""), identifier(table))


def rename_table(table: QualifiedName, name: str) -> sql.Composed:
    """Within its schema."""
    return sql.SQL("ALTER TABLE {} RENAME TO {}").format(identifier(table), sql.Identifier(name))


def analyze(table: QualifiedName, columns: Sequence[str] = ()) -> sql.Composed:
    """ANALYZE, of all columns unless some are named."""
    named = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, columns))) if columns else sql.SQL("")
    return sql.SQL("ANALYZE {}{}").format(identifier(table), named)


def temporary_index_name(stage: QualifiedName, number: int) -> str:
    """Of the stage's index that will take the place of the target's index `number`."""
    return f"{stage.name}_{number}"


def attach(stage: QualifiedName, facts: TargetFacts, built: frozenset[str] = frozenset()) -> Statements:
    """Gives the full stage what hangs on the target: indexes, keys, comments, column settings, owner, grants.

    Indexes have temporary names, since the target still has theirs; those that are `built` are there, with a comment
    of our own. Grants come last: afterwards we may not be allowed to read the stage any more.
    """
    statements: list[sql.Composed] = []
    for number, index in enumerate(facts.indexes):
        name = temporary_index_name(stage, number)
        statements += _attach_index(stage, name, index, is_built=name in built)
    statements += _attach_comments(stage, facts)
    for column in facts.columns:
        statements += _attach_column_settings(stage, column)
    statements.append(sql.SQL("ALTER TABLE {} OWNER TO {}").format(identifier(stage), sql.Identifier(facts.owner)))
    return tuple(statements)


def _attach_index(stage: QualifiedName, name: str, index: IndexFacts, *, is_built: bool) -> Statements:
    statements: list[sql.Composed] = []
    if not is_built:
        statements.append(create_index(stage, name, unique=index.unique, tail=index.tail or ""))
    if index.constraint is not None:
        when = " DEFERRABLE INITIALLY DEFERRED" if index.deferred else " DEFERRABLE" if index.deferrable else ""
        statements.append(
            sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {} USING INDEX {}{}").format(
                identifier(stage),
                sql.Identifier(name),
                printed(index.constraint),
                sql.Identifier(name),
                sql.SQL(when),
            )
        )
    if index.comment is not None or is_built:
        statements.append(comment_on_index(stage, name, index.comment))
    if index.constraint_comment is not None:
        statements.append(_comment_on_constraint(stage, name, index.constraint_comment))
    return tuple(statements)


def _comment_on_constraint(table: QualifiedName, name: str, comment: str) -> sql.Composed:
    return sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}").format(
        sql.Identifier(name), identifier(table), sql.Literal(comment)
    )


def _attach_comments(stage: QualifiedName, facts: TargetFacts) -> Statements:
    statements: list[sql.Composed] = []
    if facts.comment is not None:
        statements.append(sql.SQL("COMMENT ON TABLE {} IS {}").format(identifier(stage), sql.Literal(facts.comment)))
    statements += [
        sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(
            identifier(stage), sql.Identifier(column.name), sql.Literal(column.comment)
        )
        for column in facts.columns
        if column.comment is not None
    ]
    statements += [
        _comment_on_constraint(stage, check.name, check.comment) for check in facts.checks if check.comment is not None
    ]
    # LIKE gives the stage's NOT NULL constraints the names of the target's.
    statements += [_comment_on_constraint(stage, name, comment) for name, comment in facts.not_null_comments]
    return tuple(statements)


def _attach_column_settings(stage: QualifiedName, column: TargetColumn) -> Statements:
    statements: list[sql.Composed] = []
    if column.statistics is not None:
        statements.append(
            sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET STATISTICS {}").format(
                identifier(stage), sql.Identifier(column.name), sql.Literal(column.statistics)
            )
        )
    for name, _, value in (option.partition("=") for option in column.options):
        statements.append(
            sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET ({} = {})").format(
                identifier(stage), sql.Identifier(column.name), sql.Identifier(name), sql.Literal(value)
            )
        )
    return tuple(statements)


def _grantee(name: str | None) -> sql.Composable:
    return sql.SQL("PUBLIC") if name is None else sql.Identifier(name)


def carry_grants(stage: QualifiedName, facts: TargetFacts, stage_grants: tuple[Grant, ...]) -> Statements:
    """Makes the stage's grants those of the target, whatever default privileges have given it."""
    grantees = dict.fromkeys(grant.grantee for grant in stage_grants)
    if not facts.default_grants:
        grantees |= {facts.owner: None, None: None}
    else:
        grantees.pop(facts.owner, None)
    statements = [
        sql.SQL("REVOKE ALL ON {} FROM {}").format(identifier(stage), _grantee(grantee)) for grantee in grantees
    ]
    return (*statements, *(_grant_again(stage, grant) for grant in facts.grants))


def _grant_again(stage: QualifiedName, grant: Grant) -> sql.Composed:
    return sql.SQL("GRANT {}{} ON {} TO {}{}").format(
        printed(grant.privilege),
        sql.SQL(" ({})").format(sql.Identifier(grant.column)) if grant.column is not None else sql.SQL(""),
        identifier(stage),
        _grantee(grant.grantee),
        sql.SQL(" WITH GRANT OPTION" if grant.grantable else ""),
    )


def exchange(stage: QualifiedName, facts: TargetFacts) -> Statements:
    """The stage takes the target's place and its names; under ACCESS EXCLUSIVE."""
    statements = [drop_table(facts.name), rename_table(stage, facts.name.name)]
    for number, index in enumerate(facts.indexes):
        now = temporary_index_name(stage, number)
        if index.constraint_name is not None:
            statements.append(
                sql.SQL("ALTER TABLE {} RENAME CONSTRAINT {} TO {}").format(
                    identifier(facts.name), sql.Identifier(now), sql.Identifier(index.constraint_name)
                )
            )
        else:
            statements.append(rename_index(stage.schema, now, index.name))
    return tuple(statements)


def grant(privileges: LiteralString, on: sql.Composable, role: str) -> sql.Composed:
    """`GRANT INSERT ON TABLE "s"."t" TO "worker"`."""
    return sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(privileges), on, sql.Identifier(role))


def revoke(privileges: LiteralString, on: sql.Composable, role: str) -> sql.Composed:
    """The opposite of `grant`."""
    return sql.SQL("REVOKE {} ON {} FROM {}").format(sql.SQL(privileges), on, sql.Identifier(role))


def text(statement: sql.Composed) -> str:
    """The statement as `plan` prints it."""
    return statement.as_string(None)
