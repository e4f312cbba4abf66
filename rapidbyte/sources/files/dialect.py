"""CSV: how a stream's files are written, and the names of their columns."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import replace

from rapidbyte.errors import ConfigError, SourceError
from rapidbyte.sources.files.paths import DataFile, is_tab_separated
from rapidbyte.sources.files.text import TextBytes, check_encoding
from rapidbyte.spec import FilesSourceSpec
from rapidbyte.values import frozen

DELIMITERS = ",;\t|"
"""What is looked for when no delimiter is given; of two that part the header into as many fields, the first."""


@frozen
class Dialect:
    """How a stream's CSV files are written. Every character is a single ASCII one."""

    delimiter: str
    quote: str = '"'
    escape: str | None = None
    """None: a quote inside of quotes is doubled."""
    header: bool = True
    header_is_given: bool = False
    """The configuration says that there is one, whatever it looks like."""
    null_strings: tuple[str, ...] = ("",)
    """Unquoted fields that mean NULL; a quoted field never does."""
    encoding: str = "utf-8"
    skip: int = 0
    """Lines before the header."""


MOST_COLUMNS = 20_000
"""Of a file, whichever of them are loaded."""


def choose_dialect(spec: FilesSourceSpec, file: DataFile) -> Dialect:
    """What the configuration says, what the name says, PostgreSQL's own defaults; the delimiter from the first record.

    Raises ConfigError for characters that cannot part anything, SourceError for a file that cannot be read.
    """
    for key, character in (("delimiter", spec.delimiter), ("quote", spec.quote), ("escape", spec.escape)):
        if character is not None and (len(character) != 1 or not " " < character <= "~") and character != "\t":
            raise ConfigError(
                f"{key}: {character!r} is not a single visible ASCII character or a tab", code="dialect_invalid"
            )
    quote = spec.quote or '"'
    known = Dialect(
        delimiter=spec.delimiter or ("\t" if is_tab_separated(file) else ""),
        quote=quote,
        escape=None if spec.escape in (None, quote) else spec.escape,
        header=spec.header is not False,
        header_is_given=spec.header is True,
        null_strings=("",) if spec.null_strings is None else spec.null_strings,
        encoding=check_encoding(spec.encoding or "utf-8"),
        skip=spec.skip,
    )
    if known.delimiter:
        return known
    counts = {mark: _width(file, replace(known, delimiter=mark)) for mark in DELIMITERS if mark != quote}
    return replace(known, delimiter=max(counts, key=lambda mark: counts[mark]))


def _width(file: DataFile, dialect: Dialect) -> int:
    """How many fields the first record has; 0 where it is none, as one endless field is."""
    try:
        return len(_first_record(file, dialect)[0])
    except SourceError as error:
        if error.code != "header_invalid":
            raise
        return 0


def read_header(file: DataFile, dialect: Dialect) -> tuple[str, ...]:
    """The names of the columns; `column1` and so on where the file has none.

    Raises SourceError where a name is empty or comes twice, or where the header cannot be a header.
    """
    record, last_line = _first_record(file, dialect)
    if not record:
        raise SourceError(f"{file.path} holds nothing but empty lines", code="file_empty")
    if len(record) > MOST_COLUMNS:
        raise _header_error(
            file, f"has {len(record)} columns; PostgreSQL holds 1600, and more than {MOST_COLUMNS} are not read"
        )
    if not dialect.header:
        return tuple(f"column{number}" for number in range(1, len(record) + 1))
    unnamed = [str(number) for number, name in enumerate(record, 1) if not name.strip()]
    if unnamed:
        raise _header_error(file, f"has no name for column {', '.join(unnamed)}")
    if any("\0" in name for name in record):
        raise _header_error(file, "holds a NUL character, which no name can")
    twice = sorted(name for name, count in Counter(record).items() if count > 1)
    if twice:
        raise SourceError(
            f"the header of {file.path} has {', '.join(map(repr, twice))} more than once",
            code="header_invalid",
            hint="two columns of a table cannot have one name: rename one in the file; or read it without its header,"
            f" as column1, column2 and so on: `header: false, skip: {last_line}` in source.config",
        )
    numbers = [name for name in record if re.fullmatch(r"[+-]?\d[\d.,:TZ+-]*", name)]
    if not dialect.header_is_given and numbers and len(numbers) * 2 >= len(record):
        raise _header_error(file, "seems to be the first row, not names")
    return tuple(record)


def _header_error(file: DataFile, what: str) -> SourceError:
    return SourceError(
        f"the header of {file.path} {what}",
        code="header_invalid",
        hint="`header` in source.config says whether there is one, `skip` leaves out lines before it",
    )


def _first_record(file: DataFile, dialect: Dialect) -> tuple[list[str], int]:
    """The first record that is not empty, and the line, from 1, on which it ends; an empty one where there is none.

    Reads no more than it needs.
    """
    with TextBytes(file, dialect.encoding, skip=dialect.skip) as source:
        rows = csv.reader(
            io.TextIOWrapper(io.BufferedReader(source), encoding="utf-8", errors="replace", newline=""),
            delimiter=dialect.delimiter,
            quotechar=dialect.quote,
            doublequote=dialect.escape is None,
            escapechar=dialect.escape,
        )
        try:
            record = next((row for row in rows if row), list[str]())
            return record, source.lines_dropped + rows.line_num
        except csv.Error as error:
            raise _header_error(file, f"cannot be read: {error}") from error
