"""`rapidbyte psql`: a psql at a pipeline's embedded PostgreSQL, which runs as long as somebody uses it."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING, Annotated

import typer

from rapidbyte.cli.options import EnvFileOption, PipelineArgument, SetOption
from rapidbyte.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from rapidbyte.spec import EmbeddedServer, PipelineSpec


def psql(
    pipeline: PipelineArgument,
    command: Annotated[
        list[str] | None,
        typer.Option("--command", "-c", metavar="SQL", help="Run this and exit, instead of asking; may be repeated."),
    ] = None,
    source: Annotated[bool, typer.Option("--source", help="The source's server, not the destination's.")] = False,
    override: SetOption = None,
    env_file: EnvFileOption = None,
) -> int:
    """Open psql at the pipeline's embedded PostgreSQL; its exit code is psql's."""
    from pathlib import Path

    from rapidbyte.cli.run import load_spec
    from rapidbyte.pg.embedded import default_data_dir, embedded_bin_dir, is_made, start_embedded

    server = _embedded(load_spec(pipeline, override, env_file), source=source)
    folder = None if server.data_dir is None else Path(server.data_dir)
    if not is_made(folder):
        raise ConfigError(
            f"there is no embedded server in {folder or default_data_dir()} yet",
            code="embedded_missing",
            hint="`rapidbyte run` makes it",
        )
    address = start_embedded(folder, server.database, makes_database=False)
    arguments = ["-h", address.host, "-p", str(address.port), "-U", address.user, "-d", address.database]
    program: Path = embedded_bin_dir() / "psql"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is psql's, which sets its own handler
    commands = [part for sql in command or [] for part in ("-c", sql)]
    return subprocess.run([program, *arguments, *commands], check=False).returncode  # noqa: S603


def _embedded(spec: PipelineSpec, *, source: bool) -> EmbeddedServer:
    from rapidbyte.spec import DatabaseFileSpec, FilesSourceSpec

    end = spec.source if source else spec.destination
    connection = None if isinstance(end, FilesSourceSpec | DatabaseFileSpec) else end.connection
    if connection is None or connection.embedded is None:
        raise ConfigError(
            f"the {'source' if source else 'destination'} is not an embedded PostgreSQL",
            code="embedded_missing",
            hint="`psql` with its connection string opens any other",
        )
    return connection.embedded
