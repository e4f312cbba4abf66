"""A file system that is full at once: a tablespace of some kilobytes in memory, where we may mount one (C10)."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

from psycopg import sql

from tests.faults.lane import Place, connect

TABLESPACE = "faults_small"


class NotPossible(Exception):
    """This machine does not let us mount anything."""


@contextlib.contextmanager
def small_tablespace(place: Place, role: str, size: str) -> Generator[None]:
    """The role makes its tables there as long as this is entered."""
    with mounted(place.lane.folder, size) as folder, connect(place.lane.admin) as admin:
        admin.execute(sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(sql.Identifier(TABLESPACE), str(folder)))
        database = sql.Identifier(place.dsn.split("?")[0].rpartition("/")[2])
        setting = sql.SQL("ALTER ROLE {} IN DATABASE {} {} default_tablespace")
        try:
            admin.execute(
                setting.format(sql.Identifier(role), database, sql.SQL("SET")) + sql.SQL(" = {}").format(TABLESPACE)
            )
            yield
        finally:
            admin.execute(setting.format(sql.Identifier(role), database, sql.SQL("RESET")))
            _drop(place)


def _drop(place: Place) -> None:
    """What was made there moves to where there is room."""
    with connect(place.dsn) as connection:
        connection.execute(f"ALTER TABLE ALL IN TABLESPACE {TABLESPACE} SET TABLESPACE pg_default")  # type: ignore[arg-type]
        connection.execute(f"ALTER INDEX ALL IN TABLESPACE {TABLESPACE} SET TABLESPACE pg_default")  # type: ignore[arg-type]
        connection.execute("CHECKPOINT")
        connection.execute(sql.SQL("DROP TABLESPACE {}").format(sql.Identifier(TABLESPACE)))


@contextlib.contextmanager
def mounted(within: Path, size: str) -> Generator[Path]:
    """An empty file system of that size, owned by whoever the server runs as. Raises NotPossible."""
    folder = Path(tempfile.mkdtemp(prefix="small-", dir=within))
    owner = (within / "data").stat()
    options = f"size={size},uid={owner.st_uid},gid={owner.st_gid},mode=0700"
    command = ["mount", "-t", "tmpfs", "-o", options, "rapidbyte-faults", str(folder)]
    try:
        if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode != 0:
            raise NotPossible("no file system may be mounted here")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()
