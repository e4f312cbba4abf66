"""Why the checksums of rows that were read twice differ: a source that gives other rows each time. Pure."""

from __future__ import annotations

import re
from dataclasses import fields

from rapidbyte.errors import CheckError, ErrorContext, RapidbyteError
from rapidbyte.plan import StreamPlan

_CALLS = (
    "random|random_normal|setseed|clock_timestamp|statement_timestamp|transaction_timestamp|now|timeofday|nextval|"
    "gen_random_uuid|uuid_generate_v[14]|uuidv[47]|txid_current|pg_current_xact_id|pg_backend_pid|pg_sleep"
)
_CHANGING = re.compile(
    rf"\b(?P<call>{_CALLS})\s*\(|\b(?P<word>current_timestamp|current_time|localtimestamp|localtime|tablesample)\b",
    re.IGNORECASE,
)


def changing(text: str) -> tuple[str, ...]:
    """What of this SQL gives another result in another transaction, as far as its name tells; each once."""
    found = (f"{match['call']}()" if match["call"] else match["word"] for match in _CHANGING.finditer(text))
    return tuple(dict.fromkeys(word.lower() for word in found))


def explained(error: RapidbyteError, stream: StreamPlan) -> RapidbyteError:
    """A checksum that differs, with the reason where the stream's own SQL is one; any other error as it is."""
    spec = stream.shape.spec
    text = f"{spec.query or ''}\n{spec.where or ''}"
    if error.code != "checksum_mismatch" or not (text.strip() or stream.shape.kind in ("view", "foreign")):
        return error
    found = changing(text)
    what = "`query`" if spec.query else "`where`" if spec.where else stream.shape.kind
    message, hint = (
        error.message,
        (
            f"the checksum is of a second reading: a {what} that gives other rows each time, as by random() or now(), "
            "cannot be compared; if it has nothing of the kind, please report this"
        ),
    )
    if found:
        message = (
            f"the checksums of stream {spec.name} cannot agree: its {what} is volatile, by {', '.join(found)}, and the "
            "checksum is of a second reading, which gave other rows than were loaded"
        )
        hint = "load it without --checksum, or put the rows into a table and load that"
    where = {field.name: getattr(error.context, field.name) for field in fields(ErrorContext)}
    return CheckError(message, code=error.code, hint=hint, **where)
