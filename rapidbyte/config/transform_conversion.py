"""Checked `transforms` -> what the rest of rapidbyte knows of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rapidbyte.config.transform_keys import RuleKeys, TransformConfig, TransformKeys
from rapidbyte.config.transform_rules import kind_of
from rapidbyte.spec import (
    CaseTransform,
    CastTransform,
    DropTransform,
    FieldMask,
    MaskTransform,
    RenameTransform,
    Rule,
    SqlTransform,
    Transform,
    ValidateTransform,
)


def transforms_of(transforms: Sequence[TransformKeys], stream: str, folder: Path) -> tuple[Transform, ...]:
    """Those that the stream's rows pass through, in order. Paths begin in the pipeline file's folder."""
    return tuple(
        _transform(kind_of(each), each.config, folder)
        for each in transforms
        if not each.streams or stream in each.streams
    )


def _transform(kind: str, config: TransformConfig, folder: Path) -> Transform:
    match kind:
        case "sql":
            tables = tuple((name, _from_here(path, folder)) for name, path in config.tables or ())
            return SqlTransform(query=config.query or "", tables=tables)
        case "validate":
            return ValidateTransform(rules=tuple(rule for keys in config.rules or () for rule in _rules(keys)))
        case "mask":
            return _mask(config)
        case "rename":
            return RenameTransform(names=config.names or ())
        case "drop":
            return DropTransform(columns=config.columns or ())
        case "cast":
            return CastTransform(types=config.types or ())
        case _:
            return CaseTransform(style=config.to or "lower")


def _from_here(path: str, folder: Path) -> str:
    return path if "://" in path else str((folder / Path(path).expanduser()).absolute())


def _rules(keys: RuleKeys) -> Iterator[Rule]:
    for field in keys.assert_not_null or ():
        yield Rule(kind="assert_not_null", fields=(field,))
    if keys.assert_unique is not None:
        yield Rule(kind="assert_unique", fields=keys.assert_unique)
    if (regex := keys.assert_regex) is not None:
        yield Rule(kind="assert_regex", fields=(regex.field,), pattern=regex.pattern)
    if (bounds := keys.assert_range) is not None:
        yield Rule(kind="assert_range", fields=(bounds.field,), low=bounds.min, high=bounds.max)
    if (listed := keys.assert_in) is not None:
        yield Rule(kind="assert_in", fields=(listed.field,), values=listed.values)
    if keys.assert_expression is not None:
        yield Rule(kind="assert_expression", expression=keys.assert_expression)


def _mask(config: TransformConfig) -> MaskTransform:
    masks = tuple(
        FieldMask(
            field=each.field,
            method=each.method,
            keep_start=each.keep_start,
            keep_end=each.keep_end,
            text=each.text,
        )
        for each in config.fields or ()
    )
    return MaskTransform(masks=masks, key=config.key)
