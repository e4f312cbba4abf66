"""Which files a stream is made of, and that they stay what they were while they are read."""

from __future__ import annotations

import glob
import io
import itertools
import os
import stat
import time
from pathlib import Path, PurePath
from typing import Any, Literal

from rapidbyte.errors import ConfigError, SourceError
from rapidbyte.model import Secret
from rapidbyte.spec import FileFormat, FilePath, Storage, paths_of
from rapidbyte.values import frozen

Compression = Literal["gzip", "zstd"]

_COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_FORMATS: dict[str, FileFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_UNREADABLE = {".bz2", ".xz", ".zip", ".lz4", ".br", ".7z", ".sz"}
_BINARY = ("parquet", "arrow")


@frozen
class Address:
    """Where a file lies that is not here, and what opens the door."""

    scheme: str
    url: Secret
    """With whatever follows a `?`."""
    storage: Storage


@frozen
class DataFile:
    """A file as it was when it was found."""

    path: str
    """Absolute; an address; or what the file is called, where it has none. Nothing secret is in it."""
    size: int
    modified_ns: int
    inode: int
    spool: str | None = None
    """The file that is read in its stead: it could be read only once. No later run finds it again."""
    packed: Compression | None = None
    """How a spooled one is compressed; others tell it by their names."""
    address: Address | None = None
    """Of a file in a store; `path` is its address without secrets."""
    tag: str = ""
    """What a store tells one version of a file from another by."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return Path(self.path).name

    @property
    def fingerprint(self) -> str:
        """Tells the file from a later one of this path; the inode is not in it, a copy that kept its time is equal."""
        return f"{self.size}/{self.modified_ns if self.address is None else self.tag}"


@frozen
class ByteRange:
    """Bytes `low <= byte < high` of a file, which begin and end with a line. None: the file's end."""

    low: int
    high: int | None


class TimedFile(io.FileIO):
    """A file, opened for reading, that knows how long reading it took."""

    def __init__(self, path: str) -> None:
        super().__init__(path, "r")
        self.seconds = 0.0
        """Spent waiting for the file system so far."""

    def read(self, size: int | None = -1, /) -> bytes:
        """As the file has it."""
        started = time.monotonic()
        data = super().read(-1 if size is None else size)
        self.seconds += time.monotonic() - started
        return data or b""

    def readinto(self, buffer: Any, /) -> int:
        """As the file has it."""
        started = time.monotonic()
        count = super().readinto(buffer)
        self.seconds += time.monotonic() - started
        return count or 0


def find_files(
    path: FilePath, base_dir: str, given: FileFormat | None = None, *, follows_links: bool = False
) -> tuple[DataFile, ...]:
    """The files of each path, each file once: itself; those of a glob, or of a folder, in the order of their names.

    Of a folder, those whose names say that they are of the `given` format, or of any where none is given; of
    `folder/**` those below it, too. At least one, none of them empty.

    Unless it `follows_links`, what a glob or a folder finds lies within its folder; a path of its own leads anywhere.

    Raises SourceError for a file that is not there, empty, or not a plain file, for a folder without such files, and
    for a link that leads out of its folder.
    """
    found = [file for part in paths_of(path) for file in _files_at(part, base_dir, given, follows_links=follows_links)]
    return tuple({file.path: file for file in found}.values())


def _files_at(path: str, base_dir: str, given: FileFormat | None, *, follows_links: bool) -> tuple[DataFile, ...]:
    given_path = Path(path).expanduser()
    wanted = (Path(base_dir) / given_path).absolute()
    if not glob.has_magic(path) and not wanted.is_dir():
        return (stamp(wanted),)
    if wanted.name == "**":
        home, files = wanted.parent, _files_in(wanted.parent, given, is_deep=True)
    elif wanted.is_dir():
        home, files = wanted, _files_in(wanted, given, is_deep=False)
    elif wanted.exists():
        return (stamp(wanted),)
    else:
        # The pipeline file's folder may have any name.
        pattern = str(given_path if given_path.is_absolute() else Path(glob.escape(base_dir)) / given_path)
        found = [Path(name).absolute() for name in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 - ** and order
        home, files = _home(wanted), tuple(stamp(name) for name in _each_once(found) if not name.is_dir())
        if not files:
            raise SourceError(f"no file matches {wanted}", code="file_not_found", hint="is the path right?")
    if not follows_links:
        _require_within(files, home)
    return files


def _home(pattern: Path) -> Path:
    """The folder that a pattern begins in: its parts before the first that is one."""
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts))


def _require_within(files: tuple[DataFile, ...], home: Path) -> None:
    """Raises SourceError for a file that lies elsewhere: a link has led there."""
    own = Path(os.path.realpath(home))
    for file in files:
        place = Path(os.path.realpath(file.path))
        if not place.is_relative_to(own):
            raise SourceError(
                f"{file.path} is a link, or lies behind one, that leads out of {home}",
                code="path_escapes",
                hint="`follow_symlinks: true` in source.config follows it; so does a path of its own",
            )


def _each_once(found: list[Path]) -> list[Path]:
    """These paths without those that lead to a file that another one leads to: a link may lead back above itself.

    Of several the shortest stays, which goes through the fewest links.
    """
    kept: dict[str, Path] = {}
    for path in sorted(found, key=lambda each: (len(each.parts), str(each))):
        kept.setdefault(os.path.realpath(path), path)
    return sorted(kept.values())


def _files_in(folder: Path, given: FileFormat | None, *, is_deep: bool) -> tuple[DataFile, ...]:
    """The folder's data files by name; hidden ones are left out."""
    try:
        names = sorted(folder.rglob("*") if is_deep else folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder}: {error.strerror}", code="file_unreadable") from error
    plain = [path for path in names if path.is_file() and not path.name.startswith(".")]
    suitable = _each_once([path for path in plain if is_data_file(path, given)])
    if suitable:
        return tuple(stamp(path) for path in suitable)
    there = ", ".join(path.name for path in plain[:3]) + (", ..." if len(plain) > 3 else "")
    has_more = not is_deep and any(path.is_dir() for path in names)
    below = f"; {folder}/** takes the folders below it, too" if has_more else ""
    raise SourceError(
        f"folder {folder} holds no {given or 'csv, ndjson, parquet or arrow'} file",
        code="file_not_found",
        hint=(f"it holds {there}" if there else "it holds no file at all") + below,
    )


def stamp(path: Path) -> DataFile:
    """The file with its size and times. Raises SourceError."""
    try:
        status = path.stat()
        path.open("rb").close() if stat.S_ISREG(status.st_mode) else None
    except FileNotFoundError:
        raise SourceError(f"{path}: there is no such file", code="file_not_found") from None
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}", code="file_unreadable") from error
    if stat.S_ISDIR(status.st_mode):
        raise SourceError(f"{path} is a folder", code="file_not_plain", hint=f"a glob reads its files: {path}/*.csv")
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"{path} is not a plain file", code="file_not_plain")
    if status.st_size == 0:
        raise SourceError(f"{path} is empty: it has not even a header", code="file_empty")
    return DataFile(path=str(path.absolute()), size=status.st_size, modified_ns=status.st_mtime_ns, inode=status.st_ino)


def relative(path: str, folder: str) -> str:
    """The path as a pipeline file in this folder has it: relative where it lies below it."""
    home = Path(folder).absolute()
    return str(Path(path).relative_to(home)) if Path(path).is_relative_to(home) else path


def is_data_file(path: PurePath, given: FileFormat | None) -> bool:
    """Whether a folder's file is one to load, by its name: of the `given` format, or of any; hidden ones are not."""
    found = _format_by_name(path)
    return not path.name.startswith(".") and found is not None and given in (None, found)


def format_of(file: DataFile, given: FileFormat | None) -> FileFormat:
    """The format that was given, else the one that the name tells. Raises ConfigError where it tells none."""
    if given is not None:
        return given
    path = Path(file.path)
    if (found := _format_by_name(path)) is not None:
        return found
    raise ConfigError(
        f"{file.path}: the name does not tell the format", code="format_unknown", hint="set `format` in source.config"
    )


def compression_of(file: DataFile, file_format: FileFormat) -> Compression | None:
    """How the file is compressed, by its name. Raises ConfigError for what cannot be read."""
    if file.packed is not None and file_format not in _BINARY:
        return file.packed
    ending = Path(file.path).suffix.lower()
    if ending in _UNREADABLE or (ending in _COMPRESSIONS and file_format in _BINARY):
        raise ConfigError(
            f"{file.path}: {file_format} compressed as {ending} cannot be read",
            code="compression_unsupported",
            hint="decompress it first" if file_format in _BINARY else "use .gz or .zst, or decompress it first",
        )
    return _COMPRESSIONS.get(ending)


def is_tab_separated(file: DataFile) -> bool:
    """The name says so."""
    return any(ending in (".tsv", ".tab") for ending in _endings(Path(file.path))[-1:])


def _format_by_name(path: PurePath) -> FileFormat | None:
    return _FORMATS.get(next(reversed(_endings(path)), ""))


def _endings(path: PurePath) -> list[str]:
    """The name's endings in lower case, without those of a compression."""
    endings = [ending.lower() for ending in path.suffixes]
    return [ending for ending in endings if ending not in _COMPRESSIONS and ending not in _UNREADABLE]
