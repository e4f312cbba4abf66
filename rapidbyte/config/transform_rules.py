"""Rules of `transforms` that concern several keys: which of them belong to which kind. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from rapidbyte.config.problems import Finding, Path
from rapidbyte.config.transform_keys import MaskKeys, RuleKeys, TransformConfig, TransformKeys

KEYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sql": ("query", ("tables",)),
    "validate": ("rules", ()),
    "mask": ("fields", ("key",)),
    "rename": ("names", ()),
    "drop": ("columns", ()),
    "cast": ("types", ()),
    "case": ("to", ()),
}
"""Of each kind: the key it must have, and those it may have."""

SHORTEST_KEY = 16
"""Characters of a mask's key: with fewer, whoever has the hashes can try them all."""


def kind_of(transform: TransformKeys) -> str:
    """The kind, its older spellings resolved."""
    return transform.use.removeprefix("transform-")


def check_transforms(transforms: Sequence[tuple[int, TransformKeys]], streams: Set[str]) -> Iterator[Finding]:
    """Everything that does not go together."""
    for position, transform in transforms:
        path: Path = ("transforms", position)
        yield from _keys(transform, (*path, "config"))
        for place, name in enumerate(transform.streams):
            if name not in streams:
                message = f"no stream is called {name}"
                yield Finding(path=(*path, "streams", place), message=message, hint="write it as in `source.streams`")
        config = transform.config
        yield from _tables(config, streams, (*path, "config", "tables"))
        for place, rule in enumerate(config.rules or ()):
            yield from _rule(rule, (*path, "config", "rules", place))
        yield from _masks(config, (*path, "config"))


def _keys(transform: TransformKeys, path: Path) -> Iterator[Finding]:
    kind, given = kind_of(transform), transform.config.model_fields_set
    needed, others = KEYS[kind]
    if needed not in given:
        yield Finding(path=path, message=f"`{needed}` is missing, which {kind} needs")
    elif getattr(transform.config, needed) in ((), None):
        yield Finding(path=(*path, needed), message="the list is empty", hint="remove the transform")
    for key in sorted(given - {needed, *others}):
        owner = next(name for name, (first, more) in KEYS.items() if key == first or key in more)
        hint = f"{kind} takes `{needed}`"
        yield Finding(path=(*path, key), message=f"`{key}` is a key of use: {owner}", hint=hint, at_key=True)


def _tables(config: TransformConfig, streams: Set[str], path: Path) -> Iterator[Finding]:
    taken = {"input", *(name.lower() for name in streams)}
    for name, file in config.tables or ():
        if name.lower() in taken:
            hint = "give the file another name"
            yield Finding(path=(*path, name), message=f"`{name}` is what the query's input is called", hint=hint)
        if file in ("", "-"):
            yield Finding(path=(*path, name), message="the path of a file is due here")


def _rule(rule: RuleKeys, path: Path) -> Iterator[Finding]:
    given = sorted(rule.model_fields_set)
    if len(given) != 1:
        message = "a rule is one of " + ", ".join(RuleKeys.model_fields)
        yield Finding(path=path, message=message, hint="begin each rule with `- `" if given else None)
    if rule.assert_range is not None and rule.assert_range.min is None and rule.assert_range.max is None:
        yield Finding(path=(*path, "assert_range"), message="`min`, `max` or both are due here")
    if rule.assert_in is not None and not rule.assert_in.values:
        yield Finding(path=(*path, "assert_in", "values"), message="the list is empty")


def _masks(config: TransformConfig, path: Path) -> Iterator[Finding]:
    masks: tuple[MaskKeys, ...] = config.fields or ()
    hashes = any(mask.method == "hash" for mask in masks)
    if hashes and config.key is None:
        hint = "write key: ${MASK_KEY}, and keep it: with another key the same values get other hashes"
        yield Finding(path=path, message="`hash` needs a `key`", hint=hint)
    if config.key is not None and not hashes and masks:
        yield Finding(path=(*path, "key"), message="nothing is hashed", hint="remove the key", at_key=True)
    if config.key is not None and len(config.key.reveal()) < SHORTEST_KEY:
        yield Finding(path=(*path, "key"), message=f"the key has fewer than {SHORTEST_KEY} characters")
    names = [mask.field for mask in masks]
    for place, mask in enumerate(masks):
        where: Path = (*path, "fields", place)
        if names.index(mask.field) < place:
            yield Finding(path=where, message=f"column {mask.field} is masked above already")
        given = mask.model_fields_set - {"field", "method"}
        own = {"partial": {"keep_start", "keep_end"}, "redact": {"text"}}.get(mask.method, set[str]())
        for key in sorted(given - own):
            yield Finding(path=(*where, key), message=f"`{key}` means nothing to {mask.method}", at_key=True)
