"""What will happen to one stream: a pure decision over what the source and the destination have said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from rapidbyte.contract import MergeFacts, ReplaceFacts
from rapidbyte.cursor import StoredCursor, plan_cursor, plan_warnings
from rapidbyte.destinations.postgres import ddl, ledger
from rapidbyte.destinations.postgres.drift import Conversion, Drift, ResolvedType, name_fault, plan_columns
from rapidbyte.destinations.postgres.indexes import source_indexes
from rapidbyte.destinations.postgres.publish import PublishChoice, choose_publish, key_for, require_replicable
from rapidbyte.destinations.postgres.target import TargetFacts
from rapidbyte.errors import ConfigError, SchemaError
from rapidbyte.model import Column, PublishMethod, QualifiedName, Wire, WriteMode
from rapidbyte.pg.types import base_name
from rapidbyte.plan import ColumnPlan, SchemaChange, StreamPlan, StreamShape
from rapidbyte.spec import DestinationSpec, StreamSpec

PLACEHOLDER = "{load}"
"""Stands for the load id in statements that are printed before there is one."""

WITHOUT_EQUALITY = frozenset(
    {"json", "xml", "point", "polygon", "path", "box", "circle", "line", "lseg", "pg_snapshot", "txid_snapshot"}
)
"""Built-in types that no B-tree can order: they have no equality, or one that is not that of the values."""

MAX_COLUMNS = 1600
"""PostgreSQL's limit for a table (54011)."""

ChooseWire = Callable[[StreamShape, tuple[ColumnPlan, ...]], Wire]


def target_name(spec: StreamSpec, shape: StreamShape, schema: str) -> QualifiedName:
    """Where a stream goes: its `target`, else its own name; `schema.table` or a table of `schema`.

    A `*` in the target stands for the source table's name. Raises ConfigError.
    """
    relation = shape.relation
    if spec.target is not None:
        text = spec.target.replace("*", relation.name) if relation is not None else spec.target
        head, dot, tail = text.partition(".")
        name = QualifiedName(schema=head, name=tail) if dot else QualifiedName(schema=schema, name=text)
    elif relation is not None and spec.query is None:
        qualified = spec.name != relation.name and spec.name == str(relation)
        name = QualifiedName(schema=relation.schema if qualified else schema, name=relation.name)
    else:
        name = QualifiedName(schema=schema, name=spec.name)
    faults = [fault for fault in (name_fault(name.schema, "schema"), name_fault(name.name, "table")) if fault]
    if faults or name.schema == ledger.SCHEMA or name.schema.startswith("pg_"):
        raise ConfigError(
            faults[0].message if faults else f"schema {name.schema} is not for targets",
            code="target_name",
            hint="give the stream another `target`",
            problems=tuple(faults),
            stream=spec.name,
        )
    return name


def require_supported(spec: StreamSpec, destination: DestinationSpec) -> WriteMode:
    """The stream's write mode. Raises ConfigError for what this version does not do."""
    mode = spec.write_mode or destination.write_mode
    asked = {
        f"sync_mode: {spec.sync_mode}": spec.sync_mode == "cdc",
        f"on_data_error: {destination.rejects.action} with append_strategy: direct": destination.rejects.sets_aside
        and mode == "append"
        and destination.append_strategy == "direct",
        "schema_evolution: type_change: null": destination.schema_policy.type_change == "null",
    }
    refused = [what for what, is_asked in asked.items() if is_asked]
    if refused:
        raise ConfigError(
            f"stream {spec.name}: {', '.join(refused)} is not supported by this version",
            code="not_supported_yet",
            hint="full refreshes and increments are",
            stream=spec.name,
        )
    return mode


def require_table(spec: StreamSpec, facts: TargetFacts) -> None:
    """Refuses a target that is a view, a foreign table, a sequence or an index."""
    if facts.exists and facts.kind not in ("r", "p"):
        kinds = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence", "i": "an index"}
        raise ConfigError(
            f"{facts.name} is {kinds.get(facts.kind, 'no table')}: rows can only be loaded into a table",
            code="target_kind",
            hint="give the stream another `target`",
            stream=spec.name,
            table=str(facts.name),
        )


def primary_key_of(shape: StreamShape, destination: DestinationSpec) -> tuple[str, ...]:
    """The key that the pipeline file gives the stream; empty where it gives none. Raises ConfigError."""
    key = shape.spec.primary_key or destination.primary_key
    known = {column.name for column in shape.columns}
    missing = [name for name in key if name not in known]
    if missing:
        raise ConfigError(
            f"stream {shape.spec.name} has no column {', '.join(missing)}, which its primary_key names",
            code="key_column_missing",
            hint=f"the stream has: {', '.join(sorted(known))}",
            stream=shape.spec.name,
        )
    return key


def merge_facts(spec: StreamSpec) -> MergeFacts:
    """Which of several rows of one key counts in an upsert."""
    order = tuple(name for name in (spec.cursor_field, spec.tie_breaker_field) if name is not None)
    return MergeFacts(order=order, on_duplicate_key=spec.on_duplicate_key)


def require_merge_key(shape: StreamShape, key: tuple[str, ...], drift: Drift) -> None:
    """Refuses an upsert without a key, or with one that is not loaded or has no equality (A6)."""
    types = {column.target.name: column.target.type for column in drift.columns}
    incomparable = [name for name in key if name in types and base_name(types[name]) in WITHOUT_EQUALITY]
    absent = [name for name in key if name not in types]
    if not key:
        what, hint = "has no key to upsert by", "name it in `primary_key`"
    elif absent:
        what, hint = f"does not load {', '.join(absent)}, of its key", "the target computes it, or lacks it"
    elif incomparable:
        what = (
            f"cannot be upserted by {', '.join(incomparable)}: its type {types[incomparable[0]].name} has no equality"
        )
        hint = "choose another `primary_key`"
    else:
        return
    raise ConfigError(f"stream {shape.spec.name} {what}", code="key_unusable", hint=hint, stream=shape.spec.name)


def decide_stream(
    order: int,
    shape: StreamShape,
    *,
    destination: DestinationSpec,
    facts: TargetFacts,
    types: Mapping[str, ResolvedType],
    conversion: Conversion,
    choose_wire: ChooseWire,
    readers: tuple[str, ...] = (),
) -> StreamPlan:
    """The stream's plan. `readers` are the run's streams that read the target.

    Raises ConfigError, SchemaError; nothing has been changed then.
    """
    spec = shape.spec
    mode = require_supported(spec, destination)
    require_table(spec, facts)
    stream_key = primary_key_of(shape, destination)
    created_key = stream_key or _source_key(shape)
    # An upsert's key is its own in every target; otherwise a target that is there keeps the key that it has.
    own_key = created_key if mode == "upsert" else stream_key
    drift = plan_columns(
        shape.columns,
        stream=spec.name,
        target=facts.columns if facts.exists else None,
        types=types,
        key=created_key,
        policy=destination.schema_policy,
        allow_lossy=spec.allow_lossy,
        conversion=conversion,
    )
    _require_loadable(shape, facts, drift, merge_key=own_key if mode == "upsert" else None)
    carried = frozenset(column.target.name for column in drift.columns)
    choice = choose_publish(
        facts=facts,
        write_mode=mode,
        strategy=destination.replace_strategy,
        carried=carried,
        readers=readers,
        append=destination.append_strategy,
    )
    plan = StreamPlan(
        order=order,
        shape=shape,
        target=facts.name,
        write_mode=mode,
        publish=choice.method,
        publish_reason=choice.reason,
        wire=_wire(choose_wire(shape, drift.columns), destination),
        columns=drift.columns,
        primary_key=own_key if facts.exists else created_key,
        merge=merge_facts(spec) if mode == "upsert" else None,
        replace=_replace_facts(spec, facts, choice, key_for(facts=facts, stream_key=own_key, carried=carried)),
        statements=(),
        schema_changes=_changes(facts, drift),
        lossy_columns=drift.lossy_columns,
        warnings=(*shape.warnings, *drift.warnings, *_warnings(facts, choice)),
    )
    return replace(plan, statements=_statements(plan, facts), rejects=destination.rejects)


def _wire(wire: Wire, destination: DestinationSpec) -> Wire:
    """Rows that may have to be set aside are relayed as text, of which each is a line."""
    return "text-relay" if destination.rejects.sets_aside and wire == "binary-relay" else wire


def _source_key(shape: StreamShape) -> tuple[str, ...]:
    """The source's primary key, where all of it is loaded."""
    arriving = {column.name for column in shape.columns}
    return shape.primary_key if set(shape.primary_key) <= arriving else ()


def _replace_facts(spec: StreamSpec, facts: TargetFacts, choice: PublishChoice, key: tuple[str, ...]) -> ReplaceFacts:
    require_replicable(spec, facts, choice.method, keyed=bool(key))
    return ReplaceFacts(
        target_exists=facts.exists, target_oid=facts.oid, key=key if facts.exists else (), min_rows=spec.min_rows
    )


def with_cursor(plan: StreamPlan, stored: StoredCursor | None) -> StreamPlan:
    """The plan of an incremental stream with how it is read; `stored` is the ledger's cursor. Raises ConfigError.

    A replace, which `--full-refresh` makes of it, begins at the beginning.
    """
    shape, spec = plan.shape, plan.shape.spec
    if spec.sync_mode == "incremental" and shape.files:
        files = () if stored is None or plan.write_mode == "replace" else stored.files
        known = {(mark.path, mark.stamp) for mark in files}
        return replace(plan, new_files=len(set(shape.files) - known))
    if spec.sync_mode != "incremental" or shape.cursor is None:
        return plan
    cursor = plan_cursor(
        shape.cursor,
        stored=None if plan.write_mode == "replace" else stored,
        lag=spec.cursor_lag,
        nulls=spec.null_cursor,
        stream=spec.name,
    )
    return replace(plan, cursor=cursor, warnings=(*plan.warnings, *plan_warnings(cursor)))


def _require_loadable(
    shape: StreamShape, facts: TargetFacts, drift: Drift, *, merge_key: tuple[str, ...] | None
) -> None:
    _require_column_count(shape.spec, facts, drift)
    if merge_key is not None:
        require_merge_key(shape, merge_key, drift)


def _require_column_count(spec: StreamSpec, facts: TargetFacts, drift: Drift) -> None:
    width = len(facts.columns) + len(drift.added) if facts.exists else len(drift.columns)
    if width > MAX_COLUMNS:
        raise ConfigError(
            f"the target of stream {spec.name} would have {width} columns; PostgreSQL allows {MAX_COLUMNS}",
            code="too_many_columns",
            hint="name the columns to load in `columns`",
            stream=spec.name,
        )


def added_columns(plan: StreamPlan) -> tuple[Column, ...]:
    """The columns that the target gets before the load."""
    names = {change.column for change in plan.schema_changes if change.kind == "add_column"}
    return tuple(column.target for column in plan.columns if column.target.name in names)


def widened_columns(plan: StreamPlan) -> tuple[Column, ...]:
    """The columns of the target that get another type before the load."""
    names = {change.column for change in plan.schema_changes if change.kind == "widen_column"}
    return tuple(column.target for column in plan.columns if column.target.name in names)


def alterations(plan: StreamPlan, facts: TargetFacts) -> ddl.Statements:
    """What the target lacks of the planned columns and types, as statements; `facts` are of now."""
    added = [column for column in added_columns(plan) if facts.column(column.name) is None]
    widened = [
        column
        for column in widened_columns(plan)
        if (found := facts.column(column.name)) is not None and found.column.type != column.type
    ]
    return (
        *(ddl.add_column(plan.target, column) for column in added),
        *(ddl.widen_column(plan.target, column) for column in widened),
    )


def unalterable(plan: StreamPlan, facts: TargetFacts, error: Exception) -> SchemaError:
    """The error of a target whose columns cannot be changed: a view or a generated column is made of them."""
    return SchemaError(
        f"the columns of {facts.name} cannot be changed as schema_evolution has it: {str(error).splitlines()[0]}",
        code="target_not_alterable",
        hint="drop what depends on the column for the while, or leave the column as it is with `type_change: fail`",
        stream=plan.name,
        table=str(facts.name),
        afterwards=f"{facts.name} is as it was.",
    )


def stage_name(target: QualifiedName, publish: PublishMethod, load_id: str) -> QualifiedName | None:
    """The stage of a load: beside the target where it becomes the target, else in our own schema.

    None for a direct load, which has none.
    """
    if publish == "direct":
        return None
    schema = target.schema if publish in ("rename", "swap") else ledger.SCHEMA
    return QualifiedName(schema=schema, name=f"_rb_{load_id}")


def create_stage(plan: StreamPlan, facts: TargetFacts, stage: QualifiedName) -> ddl.Statements:
    """The statement that creates the stage; `facts` may be from before the target's new columns were added."""
    columns = tuple(column.target for column in plan.columns)
    if not facts.exists:
        becomes = plan.target.name if plan.publish == "rename" else None
        return (ddl.create_table(stage, columns, unlogged=becomes is None, becomes=becomes),)
    if plan.publish in ("rename", "swap"):
        return (ddl.create_twin(stage, facts),)
    carried = {column.name for column in columns}
    checks = [check for check in facts.checks if set(check.columns) <= carried]
    return (ddl.create_table(stage, columns, checks=checks, unlogged=True),)


def publish_new(plan_target: QualifiedName, stage: QualifiedName, key: tuple[str, ...]) -> ddl.Statements:
    """The stage becomes a target that did not exist. The key's index is built after the rename, by its final name."""
    statements = [ddl.rename_table(stage, plan_target.name)]
    if key:
        statements.append(ddl.add_primary_key(plan_target, key))
    return tuple(statements)


def _changes(facts: TargetFacts, drift: Drift) -> tuple[SchemaChange, ...]:
    if not facts.exists:
        columns = tuple(column.target for column in drift.columns)
        statement = ddl.text(ddl.create_table(facts.name, columns))
        return (SchemaChange(kind="create_table", after=str(facts.name), statement=statement),)
    widened = {change.column for change in drift.changes if change.kind == "widen_column"}
    statements = {column.name: ddl.add_column(facts.name, column) for column in drift.added}
    statements |= {
        column.target.name: ddl.widen_column(facts.name, column.target)
        for column in drift.columns
        if column.target.name in widened
    }
    return tuple(
        replace(change, statement=ddl.text(statements[change.column]))
        if change.kind in ("add_column", "widen_column") and change.column is not None
        else change
        for change in drift.changes
    )


def _statements(plan: StreamPlan, facts: TargetFacts) -> tuple[str, ...]:
    """Every DDL statement of this stream, in order, in so far as it can be foreseen."""
    stage = stage_name(plan.target, plan.publish, PLACEHOLDER)
    found: list[ddl.Statements] = []
    if not facts.schema_exists:
        found.append((ddl.create_schema(plan.target.schema),))
    found.append(alterations(plan, facts))
    if stage is None:
        return tuple(ddl.text(statement) for group in found for statement in group)
    found.append(create_stage(plan, facts, stage))
    if not facts.exists and plan.publish == "rename":
        found.append(publish_new(plan.target, stage, plan.primary_key))
        found.append(_source_indexes(plan))
    elif not facts.exists:
        found.append((ddl.create_table(plan.target, tuple(c.target for c in plan.columns)),))
        found.append((ddl.add_primary_key(plan.target, plan.primary_key),) if plan.primary_key else ())
        found.append(_source_indexes(plan))
        found.append((ddl.drop_table(stage),))
    elif plan.publish in ("rename", "swap"):
        found += [ddl.attach(stage, facts), ddl.carry_grants(stage, facts, ()), ddl.exchange(stage, facts)]
    else:
        found.append((ddl.drop_table(stage),))
    return tuple(ddl.text(statement) for group in found for statement in group)


def _source_indexes(plan: StreamPlan) -> ddl.Statements:
    if plan.shape.spec.indexes != "source":
        return ()
    return tuple(
        ddl.create_index(plan.target, index.name, unique=index.unique, tail=index.tail)
        for index in source_indexes(plan.shape.index_definitions)
    )


def _warnings(facts: TargetFacts, choice: PublishChoice) -> tuple[str, ...]:
    found: list[str] = []
    if facts.publications_of_all:
        found.append(
            f"publication {', '.join(facts.publications_of_all)} publishes every table, those of schema"
            f" {ledger.SCHEMA} too: its subscribers need them, or must leave them out"
        )
    writes_rows = facts.exists and choice.method in ("in_place", "insert", "merge", "direct")
    if writes_rows and facts.triggers:
        found.append(f"triggers of {facts.name} will fire: {', '.join(facts.triggers)}")
    if choice.method == "direct":
        found.append(f"{facts.name} shows partitions as they land, also those of a run that fails later")
    if choice.method == "direct" and facts.rules:
        found.append(f"rules of {facts.name} do not apply to COPY: {', '.join(facts.rules)}")
    elif writes_rows and facts.rules:
        found.append(f"rules of {facts.name} apply: {', '.join(facts.rules)}")
    return tuple(found)
