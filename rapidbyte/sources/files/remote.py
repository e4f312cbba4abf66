"""Files in a store: `s3://`, `gs://`, `az://`, `http(s)://`, through fsspec. Found, looked at, read by ranges.

Every request is tried again where that may help; what is told of a failure is its kind and status, and the address
without what follows a `?`: a signed address is a secret.
"""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, Final, TypeVar, cast

from rapidbyte.errors import ConfigError, RapidbyteError, SourceError
from rapidbyte.model import Secret
from rapidbyte.sources.files.paths import Address, DataFile, is_data_file
from rapidbyte.sources.files.spool import Spool
from rapidbyte.spec import FileFormat, Storage

T = TypeVar("T")

PACKAGES: Final = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
}
"""Schemes, and what fsspec needs for them."""

TRIES = 4
PAUSE_SECONDS = 0.25
"""Before the second try; it doubles. After the last one the engine decides: it repeats a partition for a minute."""
AHEAD_BYTES = 4 << 20
"""Read at once where a file is read on: fewer requests. A jump reads what is asked for, and no more."""
CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0

_TAGS = (
    "ETag",
    "etag",
    "generation",
    "Content-MD5",
    "Digest",
    "LastModified",
    "Last-Modified",
    "last_modified",
    "updated",
)
_NO_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"})
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_GLOB = re.compile(r"[*?\[]")


class _NoRangesError(Exception):
    """The server sends the whole file, whichever part is asked for."""


def scheme_of(path: str) -> str | None:
    """`s3` of `s3://bucket/key`; None for a path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", path)
    return found[1].lower() if found else None


def address_of(path: str, storage: Storage) -> Address:
    """The address. Raises ConfigError for one of a kind that cannot be read, or that holds a password."""
    scheme = scheme_of(path) or ""
    if scheme not in PACKAGES:
        raise ConfigError(
            f"{public(path)}: {scheme}:// cannot be read",
            code="path_remote",
            hint="s3, gs, az, http and https can; or copy it here",
        )
    if re.match(r"[^/]*@", path.partition("://")[2]) and _is_http(scheme):
        raise ConfigError(
            "the address holds a user or password",
            code="path_secret",
            hint="write it in source.config.storage.authorization instead",
        )
    return Address(scheme=scheme, url=Secret(path), storage=storage)


def public(path: str) -> str:
    """The address without what follows a `?` or `#` in http: that may be a signature."""
    return re.split(r"[?#]", path, maxsplit=1)[0] if _is_http(scheme_of(path) or "") else path


def _is_http(scheme: str) -> bool:
    return scheme in ("http", "https")


# --- finding


def find_remote(path: str, given: FileFormat | None, storage: Storage, spool: Spool) -> tuple[DataFile, ...]:
    """The file at an address; those of a glob or a folder in a store, by name. Raises ConfigError, SourceError."""
    address = address_of(path, storage)
    shown = public(path)
    if _is_http(address.scheme):
        if "*" in shown:
            raise ConfigError(
                f"{shown}: http has no folders, and so no patterns", code="path_remote", hint="list the addresses"
            )
        return (_http_file(address, shown, spool),)
    fs, name = opened_store(address)
    tail = PurePosixPath(name).name
    if tail == "**":
        return _folder(address, fs, name.removesuffix("**").rstrip("/"), given, is_deep=True)
    if _GLOB.search(name):
        found = attempted(lambda: fs.glob(name, detail=True), shown)
        files = [info for info in found.values() if _is_file(info)]
        if not files:
            raise SourceError(f"no file matches {shown}", code="file_not_found", hint="is the path right?")
        return _stamped(address, files)
    if path.endswith("/") or attempted(lambda: fs.info(name), shown)["type"] == "directory":
        return _folder(address, fs, name.rstrip("/"), given, is_deep=False)
    return (stamp_remote(address, shown),)


def _folder(address: Address, fs: Any, name: str, given: FileFormat | None, *, is_deep: bool) -> tuple[DataFile, ...]:
    shown = f"{address.scheme}://{name}"
    if is_deep:
        found: list[Any] = list(attempted(lambda: fs.find(name, detail=True), shown).values())
    else:
        found = attempted(lambda: fs.ls(name, detail=True), shown)
    files = [info for info in found if _is_file(info) and is_data_file(PurePosixPath(info["name"]), given)]
    if not files:
        raise SourceError(
            f"folder {shown} holds no {given or 'csv, ndjson, parquet or arrow'} file",
            code="file_not_found",
            hint=None if is_deep else f"{shown}/** takes the folders below it, too",
        )
    return _stamped(address, files)


def _is_file(info: Any) -> bool:
    return info["type"] == "file" and not info["name"].endswith("/")


def _stamped(address: Address, infos: list[Any]) -> tuple[DataFile, ...]:
    names = sorted(info["name"] for info in infos)
    return tuple(
        stamp_remote(Address(scheme=address.scheme, url=Secret(url), storage=address.storage), url)
        for url in (f"{address.scheme}://{name.lstrip('/')}" for name in names)
    )


def stamp_remote(address: Address, shown: str) -> DataFile:
    """The file as it is now. Raises SourceError where there is none, or where it is empty."""
    fs, name = opened_store(address)
    info = attempted(lambda: fs.info(name, **({"refresh": True} if address.scheme == "s3" else {})), shown)
    if info.get("size") == 0:
        raise SourceError(f"{shown} is empty: it has not even a header", code="file_empty")
    tag = next((str(info[key]) for key in _TAGS if info.get(key)), "")
    return DataFile(path=shown, size=info.get("size") or 0, modified_ns=0, inode=0, address=address, tag=tag)


def _http_file(address: Address, shown: str, spool: Spool) -> DataFile:
    """The file, read by ranges where the server knows them; else downloaded as a whole, once."""
    found = stamp_remote(address, shown)
    if found.size and _knows_ranges(found):
        return found
    return spool.keep(shown, lambda: _downloaded(address, shown))


def _knows_ranges(file: DataFile) -> bool:
    if file.size == 1:
        return True
    try:
        with RemoteFile(file) as opened:
            opened.seek(1)
            opened.read(1)
    except _NoRangesError:
        return False
    return True


def _downloaded(address: Address, shown: str) -> Iterator[bytes]:
    fs, name = opened_store(address)
    with attempted(lambda: fs.open(name, "rb", block_size=0, size=1), shown) as source:
        while piece := attempted(lambda: source.read(AHEAD_BYTES), shown, tries=1):
            yield piece


# --- reading


class RemoteFile(io.RawIOBase):
    """A file in a store, read by ranges; knows how long that took. Raises SourceError when it cannot be read."""

    def __init__(self, file: DataFile) -> None:
        super().__init__()
        if file.address is None:
            raise ValueError(file.path)
        self._file = file
        self._is_http = _is_http(file.address.scheme)
        self._fs, self._name = opened_store(file.address)
        self._place = 0
        self._start, self._data = 0, b""
        self.seconds = 0.0
        """Spent waiting for the store so far."""

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Where the next byte comes from."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As of any file."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._file.size}[whence]
        return self._place

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes; fewer only at the end."""
        left = max(0, self._file.size - self._place)
        wanted = left if size is None or size < 0 else min(size, left)
        here = self._place - self._start
        if not 0 <= here <= len(self._data) or here + wanted > len(self._data):
            reads_on = bool(self._data) and here == len(self._data)
            known = self._data[here:] if 0 <= here <= len(self._data) else b""
            begin = self._place + len(known)
            missing = wanted - len(known)
            ahead = max(missing, AHEAD_BYTES) if reads_on or known else missing
            fetched = self._fetch(begin, min(self._file.size, begin + ahead))
            self._start, self._data, here = self._place, known + fetched, 0
        data = self._data[here : here + wanted]
        self._place += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        """The same, into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _fetch(self, begin: int, end: int) -> bytes:
        if end <= begin:
            return b""
        started = time.monotonic()
        try:
            return attempted(lambda: self._range(begin, end), self._file.path)
        finally:
            self.seconds += time.monotonic() - started

    def _range(self, begin: int, end: int) -> bytes:
        if self._is_http:
            with self._fs.open(
                self._name, "rb", block_size=AHEAD_BYTES, cache_type="none", size=self._file.size
            ) as part:
                part.seek(begin)
                data: bytes = _ranged(lambda: part.read(end - begin))
        else:
            data = self._fs.cat_file(self._name, start=begin, end=end)
        if len(data) != end - begin:
            raise OSError(f"{len(data)} bytes came, not {end - begin}")
        return data


def _ranged(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except ValueError as error:
        raise _NoRangesError from error


# --- fsspec


def opened_store(address: Address) -> tuple[Any, str]:
    """Fsspec's file system for an address, and the name there. Raises ConfigError where a package is missing."""
    try:
        import fsspec
        from fsspec.core import url_to_fs

        fsspec.get_filesystem_class(address.scheme)
        options = _options(address)
        found: tuple[Any, str] = url_to_fs(address.url.reveal(), **options)
    except ImportError as error:
        raise ConfigError(
            f"{address.scheme}:// needs the package {PACKAGES[address.scheme]}, which is not installed",
            code="package_missing",
            hint="pip install 'rapidbyte[remote]'",
        ) from error
    return found


def _options(address: Address) -> dict[str, Any]:
    """What fsspec's file system of this kind is made with."""
    storage = address.storage
    secret = {
        "key": storage.access_key,
        "secret": storage.secret_key,
        "token": storage.session_token,
        "account_key": storage.account_key,
        "connection_string": storage.connection_string,
    }
    said = {name: value.reveal() for name, value in secret.items() if value is not None}
    if _is_http(address.scheme):
        import aiohttp

        headers = {"Accept-Encoding": "identity"}
        if storage.authorization is not None:
            headers["Authorization"] = storage.authorization.reveal()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
        return {
            "headers": headers,
            "encoded": "%" in address.url.reveal(),
            "client_kwargs": {"timeout": timeout, "trust_env": True},
        }
    if address.scheme == "s3":
        return {
            **{name: said[name] for name in ("key", "secret", "token") if name in said},
            "anon": storage.anonymous,
            **({"endpoint_url": storage.endpoint} if storage.endpoint else {}),
            "client_kwargs": {"region_name": storage.region} if storage.region else {},
            "use_listings_cache": False,
        }
    if address.scheme in ("gs", "gcs"):
        token = "anon" if storage.anonymous else storage.credentials_file
        return {**({"token": token} if token else {}), "use_listings_cache": False}
    return {
        **{name: said[name] for name in ("account_key", "connection_string") if name in said},
        **({"account_name": storage.account_name} if storage.account_name else {}),
        "anon": storage.anonymous,
        "use_listings_cache": False,
    }


def attempted(request: Callable[[], T], shown: str, *, tries: int = TRIES) -> T:
    """What the request returns. One that may succeed later is tried again. Raises SourceError."""
    for failures in range(1, tries + 1):
        try:
            return request()
        except _library_errors() as error:
            told = translated(error, shown)
            if told.retry == "never" or failures == tries:
                raise told from None  # the error's own text may hold a signed address
        time.sleep(PAUSE_SECONDS * 2 ** (failures - 1))
    raise AssertionError(shown)


def _library_errors() -> tuple[type[Exception], ...]:
    """What the packages that are loaded raise."""
    known = (
        ("aiohttp", "ClientError"),
        ("botocore.exceptions", "BotoCoreError"),
        ("botocore.exceptions", "ClientError"),
        ("gcsfs.retry", "HttpError"),
        ("google.auth.exceptions", "GoogleAuthError"),
        ("azure.core.exceptions", "AzureError"),
    )
    found = [getattr(sys.modules[module], name) for module, name in known if module in sys.modules]
    return (OSError, ValueError, *found)


def translated(error: Exception, shown: str) -> RapidbyteError:
    """The error in our words: its kind and status, nothing of its text."""
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # fsspec calls every failure of a look at an http file so
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = _status(error)
    if kinds & _NO_CREDENTIALS:
        return SourceError(
            f"{shown}: there are no credentials",
            code="no_credentials",
            hint="give source.config.storage, or what the store's own tools read (AWS_ACCESS_KEY_ID, ...); "
            "`storage: {anonymous: true}` for what is public",
        )
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return SourceError(f"{shown}: there is no such file", code="file_not_found", hint="is the address right?")
    if isinstance(error, PermissionError) or status in (401, 403):
        number = f" ({status})" if status else ""
        return SourceError(
            f"{shown}: the store refuses access{number}",
            code="access_denied",
            hint="are the credentials right, not expired, and allowed to list and read it?",
        )
    if status is not None and status not in _TRY_AGAIN:
        return SourceError(f"{shown}: the server answers {status}", code="store_refused")
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return SourceError(f"{shown}: no address that the store understands", code="address_invalid")
    what = f"the server answers {status}" if status else f"the store cannot be reached ({type(error).__name__})"
    return SourceError(
        f"{shown}: {what}",
        code="store_unreachable",
        retry="connection",
        hint="is the address right, and the network up?",
    )


def _status(error: Exception) -> int | None:
    """The HTTP status, where the error says one."""
    found: Any = getattr(error, "status", None) or getattr(error, "status_code", None)
    if found is None:
        response: Any = getattr(error, "response", None)
        answer = cast("dict[str, Any]", response) if isinstance(response, dict) else {}
        found = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return found if isinstance(found, int) else None
