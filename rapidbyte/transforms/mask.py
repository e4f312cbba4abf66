"""`use: mask`: values made unrecognisable, the same way in every run, so that keys still join."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rapidbyte.errors import ConfigError
from rapidbyte.model import Column, Secret
from rapidbyte.pg.types import base_name, built_in
from rapidbyte.ports import Stop
from rapidbyte.spec import FieldMask, MaskTransform
from rapidbyte.transforms.engine import Database, explained, identifier, literal, open_database
from rapidbyte.transforms.flow import Batch, Given, require_going
from rapidbyte.transforms.sql import selected
from rapidbyte.transforms.types import delivered, require_takeable, schema_of
from rapidbyte.values import frozen

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 64
"""Bytes of SHA-256's block: HMAC pads its key to them."""

HASHED = frozenset({"bool", "int16", "int32", "int64", "string", "date32[day]", "fixed_size_binary[16]"})
"""Arrow types whose values have one text each; decimals as well."""


@frozen
class MaskStep:
    """Planned masks."""

    given: tuple[Column, ...]
    columns: tuple[Column, ...]
    expressions: tuple[tuple[str, str], ...]
    """(column, SQL that masks it)."""
    methods: tuple[tuple[str, str], ...]
    """(column, method), for people."""
    key: Secret | None
    needs_all: bool = False

    @property
    def phrase(self) -> str:
        """What it does."""
        return "mask: " + ", ".join(f"{name} ({method})" for name, method in self.methods)

    def apply(self, batches: Iterator[Batch], stop: Stop) -> Iterator[Batch]:
        """The batches with these columns masked."""
        with open_database() as database:
            self._take_key(database)
            for batch in batches:
                require_going(stop)
                yield replace(batch, rows=self._masked(database, batch.rows, stop))

    def _take_key(self, database: Database) -> None:
        """Both of HMAC's keys as variables: no statement holds them."""
        if self.key is None:
            return
        inner, outer = padded(self.key)
        database.set_variable("inner_key", inner)
        database.set_variable("outer_key", outer)

    def _masked(self, database: Database, rows: pa.RecordBatch, stop: Stop) -> pa.RecordBatch:
        import pyarrow as pa

        names = tuple(name for name, _ in self.expressions)
        with explained("the mask transform", stop):
            found = database.evaluate(selected(self.given, names, rows), dict(self.expressions))
        schema = schema_of(self.columns)
        arrays = [
            rows.column(place)
            if field.name not in names
            else delivered(found.column(field.name).combine_chunks(), field.type)
            for place, field in enumerate(schema)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def padded(key: Secret) -> tuple[bytes, bytes]:
    """The keys of HMAC's inner and outer hash (RFC 2104)."""
    import hashlib

    raw = key.reveal().encode()
    block = (hashlib.sha256(raw).digest() if len(raw) > BLOCK else raw).ljust(BLOCK, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


def plan_mask(spec: MaskTransform, given: Given) -> MaskStep:
    """The masks on these columns. Raises ConfigError for a column that is not there, or cannot be masked so."""
    require_takeable(given.columns, "mask", given.stream)
    masks = {mask.field: mask for mask in spec.masks}
    expressions = tuple((name, _expression(mask, given.column(name, "mask"), given)) for name, mask in masks.items())
    return MaskStep(
        given=given.columns,
        columns=tuple(_after(column, masks.get(column.name)) for column in given.columns),
        expressions=expressions,
        methods=tuple((mask.field, mask.method) for mask in spec.masks),
        key=spec.key,
    )


def _after(column: Column, mask: FieldMask | None) -> Column:
    if mask is None:
        return column
    if mask.method == "null":
        return replace(column, nullable=True, generated=False, identity=False)
    return Column(name=column.name, type=built_in("text"), nullable=column.nullable, arrow="string")


def _expression(mask: FieldMask, column: Column, given: Given) -> str:
    name, arrow = identifier(column.name), column.arrow or ""
    is_json = base_name(column.type) in ("json", "jsonb")
    is_text = arrow == "string" and not is_json
    is_hashable = (arrow in HASHED or arrow.startswith("decimal128")) and not is_json
    match mask.method:
        case "null":
            return f"CASE WHEN false THEN {name} END"
        case "redact":
            return f"CASE WHEN {name} IS NOT NULL THEN {literal(mask.text)} END"
        case "partial" if is_text:
            return _partial(mask, name)
        case "hash" if is_hashable:
            inner = f"unhex(sha256(getvariable('inner_key') || encode(CAST({name} AS VARCHAR))))"
            return f"CASE WHEN {name} IS NOT NULL THEN sha256(getvariable('outer_key') || {inner}) END"
        case _:
            raise ConfigError(
                f"mask: column {column.name} is {column.type.name}, which `{mask.method}` does not take",
                code="type_unsupported",
                hint="make it text with a cast before, or use redact",
                stream=given.stream,
                column=column.name,
            )


def _partial(mask: FieldMask, name: str) -> str:
    """Stars for each character but those at the ends; for all of them where a value has no more than are left."""
    kept = mask.keep_start + mask.keep_end
    stars = f"repeat('*', length({name}) - {kept})"
    whole = f"repeat('*', length({name}))"
    inner = f"left({name}, {mask.keep_start}) || {stars} || right({name}, {mask.keep_end})"
    return f"CASE WHEN length({name}) > {kept} THEN {inner} ELSE {whole} END"
