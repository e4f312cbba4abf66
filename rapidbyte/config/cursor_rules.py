"""Rules of incremental streams that need no server. Pure: a stream that is valid in itself -> findings."""

from __future__ import annotations

from collections.abc import Iterator

from rapidbyte.config.destination_keys import Destination
from rapidbyte.config.problems import Finding, Path
from rapidbyte.config.source_keys import DatabaseFileStream, FilesStream, PostgresStream


def check_cursor(
    stream: PostgresStream | FilesStream | DatabaseFileStream, destination: Destination | None, path: Path
) -> Iterator[Finding]:
    """What does not go together in the cursor's keys."""
    yield from _in_columns(stream, path)
    if stream.tie_breaker_field is not None and stream.cursor_field is None:
        yield Finding(path=(*path, "tie_breaker_field"), message="`tie_breaker_field` needs a `cursor_field`")
    if stream.sync_mode == "incremental":
        yield from _incremental(stream, destination, path)
        return
    # A cursor without increments is of use: in an upsert the row with the greatest one wins.
    for key in ("null_cursor", "cursor_lag"):
        if key in stream.model_fields_set:
            yield Finding(path=(*path, key), message=f"`{key}` is a key of incremental streams")


def _in_columns(stream: PostgresStream | FilesStream | DatabaseFileStream, path: Path) -> Iterator[Finding]:
    """A cursor that is not loaded cannot say how far the target has come (A7)."""
    for key in ("cursor_field", "tie_breaker_field"):
        name: str | None = getattr(stream, key)
        if stream.columns and name is not None and name not in stream.columns:
            yield Finding(path=(*path, key), message=f"`columns` lacks {name}", hint="add it to `columns`")


def _incremental(
    stream: PostgresStream | FilesStream | DatabaseFileStream, destination: Destination | None, path: Path
) -> Iterator[Finding]:
    if isinstance(stream, DatabaseFileStream):
        return
    if isinstance(stream, FilesStream):
        for key in ("null_cursor", "cursor_lag"):
            if key in stream.model_fields_set:
                message = f"`{key}` is of no use here: increments of files go by file, not by a column"
                yield Finding(path=(*path, key), message=message, hint="remove it")
    elif stream.cursor_field is None:
        message = "an incremental stream needs a `cursor_field`"
        yield Finding(path=path, message=message, hint="name a column that only grows, as updated_at or id")
    mode = stream.write_mode or (destination.write_mode if destination is not None else None)
    if mode == "replace":
        yield Finding(
            path=(*path, "sync_mode" if stream.write_mode is None else "write_mode"),
            message="replace would leave nothing but the last increment in the target",
            hint="use `write_mode: append` or `upsert`; `--full-refresh` replaces everything once",
        )
    elif stream.cursor_lag is not None and mode == "append":
        yield Finding(
            path=(*path, "cursor_lag"),
            message="`cursor_lag` reads rows again, and append would add them again",
            hint="use `write_mode: upsert`",
        )
