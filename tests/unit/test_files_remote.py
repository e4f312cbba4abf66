"""Files in a store: as exact as the same file here, in bounded requests; and what their servers answer."""

from __future__ import annotations

import builtins
import gzip
import http.server
import logging
import pickle
import re
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rapidbyte.cursor import CursorBounds
from rapidbyte.errors import ConfigError, SourceError
from rapidbyte.model import Secret
from rapidbyte.partition import Partition
from rapidbyte.sources.files import FilesSource, remote
from rapidbyte.sources.files.increment import new_files
from rapidbyte.sources.files.opening import require_unchanged
from rapidbyte.sources.files.parquet import group_ranges
from rapidbyte.sources.files.paths import DataFile
from rapidbyte.sources.files.read import read_partition
from rapidbyte.sources.files.remote import RemoteFile, public
from rapidbyte.sources.files.source import _text_ranges
from rapidbyte.spec import FilesSourceSpec, Storage, StreamSpec

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]

SIGNATURE = "X-Amz-Signature=deadbeefsecret"


class Folder:
    """What an HTTP server has, how it answers, and what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.status: dict[str, list[int]] = {}
        self.knows_ranges = True
        self.knows_length = True
        self.breaks_off: list[str] = []
        self.requests: list[tuple[str, str, str | None]] = []
        self.authorization: str | None = None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    folder: Folder

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        folder, path = self.folder, self.path.partition("?")[0]
        asked = self.headers.get("Range")
        folder.requests.append((self.command, self.path, asked))
        if folder.authorization is not None and self.headers.get("Authorization") != folder.authorization:
            self.send_error(403)
            return
        planned = folder.status.get(path)
        if planned and with_body and (status := planned.pop(0)) != 200:
            self.send_error(status)
            return
        data = folder.files.get(path)
        if data is None:
            self.send_error(404)
            return
        first, last = 0, len(data) - 1
        if asked is not None and folder.knows_ranges:
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
            assert found is not None
            first, last = int(found[1]), min(int(found[2]), last)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        else:
            self.send_response(200)
        if folder.knows_length:
            self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("ETag", f'"{hash(data)}"')
        self.end_headers()
        if with_body:
            body = data[first : last + 1]
            if path in folder.breaks_off:
                folder.breaks_off.remove(path)
                body = body[: len(body) // 2]
            self.wfile.write(body)


@pytest.fixture
def web() -> Iterator[tuple[Folder, str]]:
    folder = Folder()
    handler = type("Answering", (Handler,), {"folder": folder})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0.01)


@pytest.fixture(scope="session")
def s3(worker_id: str = "") -> Iterator[Storage]:
    """A store of its own, in this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        server.start()
        host, port = server.get_host_and_port()
        yield Storage(
            access_key=Secret("AKIAtesting"),
            secret_key=Secret("s3cr3t-key"),
            endpoint=f"http://{host}:{port}",
            region="us-east-1",
        )
        server.stop()


def put(storage: Storage, bucket: str, files: dict[str, bytes]) -> None:
    import s3fs

    fs = s3fs.S3FileSystem(
        key="AKIAtesting", secret="s3cr3t-key", endpoint_url=storage.endpoint, skip_instance_cache=True
    )
    if not fs.exists(bucket):
        fs.mkdir(bucket)
    for name, data in files.items():
        fs.pipe_file(f"{bucket}/{name}", data)


def csv(rows: int) -> bytes:
    return b"id,note\n" + b"".join(f'{i},"{"x" * 40}\n{i}"\n'.encode() for i in range(rows))


def parquet(rows: int, folder: Path) -> bytes:
    table = pa.table({"id": range(rows), "note": [f"n{i}" * 5 for i in range(rows)]})
    pq.write_table(table, folder / "made.parquet", row_group_size=1000)
    return (folder / "made.parquet").read_bytes()


def rows_of(path: Any, *, storage: Storage | None = None, part_bytes: int = 1 << 20, **spec: Any) -> list[Any]:
    """Every row, read by partitions as several workers do, the task being sent to another process."""
    source = FilesSource(FilesSourceSpec(storage=storage or Storage(), **spec))
    found = source._describe(StreamSpec(name="s", path=path))
    task = pickle.loads(pickle.dumps(found.task))
    ranges = []
    for index, file in enumerate(task.files):
        if task.is_text:
            ranges.extend(_text_ranges(task, file, part_bytes))
        else:
            from rapidbyte.partition import FileRange

            ranges.extend(
                FileRange(path=file.path, low_group=low, high_group=high)
                for low, high in group_ranges(found.groups[index], part_bytes)
            )
    rows: list[Any] = []
    for index, part in enumerate(ranges):
        with read_partition(task, Partition(stream="s", index=index, range=part), lambda: False, 0) as blocks:
            for block in blocks:
                assert isinstance(block.data, pa.RecordBatch)
                rows.extend(tuple(row.values()) for row in block.data.to_pylist())
    return rows


@pytest.mark.parametrize("knows_ranges", [True, False])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_http_is_as_exact_as_the_file_here(
    web: tuple[Folder, str], tmp_path: Path, name: str, knows_ranges: bool
) -> None:
    """By ranges where the server knows them, downloaded once where it does not."""
    folder, url = web
    folder.knows_ranges = knows_ranges
    data = parquet(5000, tmp_path) if name.endswith("parquet") else csv(60_000)
    data = gzip.compress(data) if name.endswith("gz") else data
    folder.files[f"/{name}"] = data
    (tmp_path / name).write_bytes(data)
    assert rows_of(f"{url}/{name}", part_bytes=1 << 20) == rows_of(str(tmp_path / name), part_bytes=1 << 20)
    whole = [each for each in folder.requests if each[0] == "GET" and each[2] is None]
    assert len(whole) == (0 if knows_ranges else 1)
    if knows_ranges:
        sizes = [int(last) - int(first) + 1 for first, last in (r[6:].split("-") for _, _, r in folder.requests if r)]
        assert max(sizes) <= remote.AHEAD_BYTES + (1 << 20)


def test_a_server_that_does_not_know_the_length(web: tuple[Folder, str], tmp_path: Path) -> None:
    """A report that is made while it is sent."""
    folder, url = web
    folder.knows_length = folder.knows_ranges = False
    folder.files["/a.csv"] = csv(100)
    (tmp_path / "a.csv").write_bytes(csv(100))
    assert rows_of(f"{url}/a.csv") == rows_of(str(tmp_path / "a.csv"))


def test_what_fails_for_a_moment_is_tried_again(web: tuple[Folder, str], tmp_path: Path) -> None:
    """A busy server, and an answer that breaks off: no row is lost, none comes twice."""
    folder, url = web
    folder.files["/a.csv"] = csv(30_000)
    folder.status["/a.csv"] = [503, 500, 200, 200, 200, 429]
    folder.breaks_off = ["/a.csv"]
    (tmp_path / "a.csv").write_bytes(csv(30_000))
    assert rows_of(f"{url}/a.csv") == rows_of(str(tmp_path / "a.csv"))
    assert folder.status["/a.csv"] == []


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(404, "file_not_found", 3), (403, "access_denied", 3), (418, "store_refused", 3)],
)
def test_what_a_server_refuses_is_told_without_the_signature(
    web: tuple[Folder, str], status: int, code: str, kind: int
) -> None:
    """Status and address; what follows the `?` is a secret (G5)."""
    folder, url = web
    folder.files["/a.csv"] = csv(10)
    folder.status["/a.csv"] = [status] * 20
    with pytest.raises(SourceError) as raised:
        rows_of(f"{url}/a.csv?{SIGNATURE}")
    assert (raised.value.code, raised.value.exit_code) == (code, kind)
    assert f"{url}/a.csv:" in raised.value.message
    assert "deadbeefsecret" not in f"{raised.value!r} {raised.value.hint} {raised.value.__cause__!r}"


def test_nobody_there_is_an_error_of_the_source_that_may_be_tried_again() -> None:
    """The engine repeats what had begun."""
    with pytest.raises(SourceError) as raised:
        rows_of("http://127.0.0.1:1/a.csv")
    assert (raised.value.code, raised.value.retry) == ("store_unreachable", "connection")


def test_a_signed_address_is_nowhere_but_in_the_request(web: tuple[Folder, str]) -> None:
    """Neither in a partition, which the ledger keeps, nor in a printed value (G5)."""
    folder, url = web
    folder.files["/a.csv"] = csv(10)
    source = FilesSource(FilesSourceSpec())
    found = source._describe(StreamSpec(name="s", path=f"{url}/a.csv?{SIGNATURE}"))
    partitions = list(_text_ranges(found.task, found.task.files[0], 1))
    assert partitions[0].path == f"{url}/a.csv" == public(f"{url}/a.csv?{SIGNATURE}")
    assert "deadbeefsecret" not in repr(found.task) + repr(partitions)
    assert any(SIGNATURE in path for _, path, _ in folder.requests)


def test_a_header_that_authorizes(web: tuple[Folder, str]) -> None:
    """`storage: {authorization: ...}`."""
    folder, url = web
    folder.files["/a.csv"] = csv(3)
    folder.authorization = "Bearer t0ken"
    assert len(rows_of(f"{url}/a.csv", storage=Storage(authorization=Secret("Bearer t0ken")))) == 3
    with pytest.raises(SourceError, match=r"refuses access \(403\)"):
        rows_of(f"{url}/a.csv")


def test_a_file_that_changes_while_it_is_read_is_noticed(web: tuple[Folder, str]) -> None:
    """By its ETag, which is asked for before each part and after it."""
    folder, url = web
    folder.files["/a.csv"] = csv(10)
    (file,) = FilesSource(FilesSourceSpec())._find(f"{url}/a.csv")
    require_unchanged(file)
    folder.files["/a.csv"] = csv(10).replace(b"x", b"y")
    with pytest.raises(SourceError, match="has changed since it was looked at"):
        require_unchanged(file)


def test_s3_is_as_exact_as_the_file_here(s3: Storage, tmp_path: Path) -> None:
    """CSV, compressed, Parquet; one after the other in ranges."""
    files = {"a.csv": csv(60_000), "b.csv.gz": gzip.compress(csv(1000)), "c.parquet": parquet(5000, tmp_path)}
    put(s3, "exact", files)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        assert rows_of(f"s3://exact/{name}", storage=s3) == rows_of(str(tmp_path / name))


def test_globs_and_folders_in_s3(s3: Storage) -> None:
    """By name; a folder's other files, hidden ones and those below it are left out, unless `**` asks for them."""
    put(
        s3,
        "globs",
        {
            "in/b.csv": b"id\n2\n",
            "in/a.csv": b"id\n1\n",
            "in/deep/c.csv": b"id\n3\n",
            "in/.hidden.csv": b"id\n4\n",
            "in/readme.md": b"x",
            "in/": b"",
        },
    )

    def names(path: Any) -> list[str]:
        return [file.path for file in FilesSource(FilesSourceSpec(storage=s3))._find(path)]

    assert names("s3://globs/in/*.csv") == ["s3://globs/in/a.csv", "s3://globs/in/b.csv"] or names(
        "s3://globs/in/*.csv"
    ) == ["s3://globs/in/.hidden.csv", "s3://globs/in/a.csv", "s3://globs/in/b.csv"]
    assert names("s3://globs/in/") == names("s3://globs/in") == ["s3://globs/in/a.csv", "s3://globs/in/b.csv"]
    assert names("s3://globs/in/**")[-1] == "s3://globs/in/deep/c.csv"
    assert rows_of(["s3://globs/in/b.csv", "s3://globs/in/a.csv"], storage=s3) == [(2,), (1,)]
    for path, message in (
        ("s3://globs/in/*.parquet", "no file matches"),
        ("s3://globs/nowhere.csv", "no such file"),
        ("s3://no-such-bucket/a.csv", "no such file"),
    ):
        with pytest.raises(SourceError, match=message) as raised:
            names(path)
        assert raised.value.code == "file_not_found"
        assert "s3cr3t-key" not in str(raised.value)


def test_increments_of_a_store_go_by_its_tags(s3: Storage) -> None:
    """Nothing is downloaded for it."""
    put(s3, "steps", {"a.csv": b"id\n1\n", "b.csv": b"id\n2\n"})

    def step(known: Any) -> CursorBounds:
        files = FilesSource(FilesSourceSpec(storage=s3))._find("s3://steps/*.csv")
        return new_files(files, known, stored=None, base_dir=".", reloads=False, stop=lambda: False)

    first = step(())
    assert [mark.path for mark in first.files] == ["s3://steps/a.csv", "s3://steps/b.csv"]
    assert step(first.files).is_empty
    put(s3, "steps", {"b.csv": b"id\n3\n"})
    with pytest.raises(SourceError, match=r"s3://steps/b\.csv: changed since it was loaded"):
        step(first.files)


def test_no_credentials_is_told_with_what_helps(s3: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And not as a file that is missing."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(SourceError) as raised:
        rows_of("s3://exact/a.csv", storage=Storage(endpoint=s3.endpoint, region="us-east-1"))
    assert raised.value.code == "no_credentials"
    assert "anonymous: true" in (raised.value.hint or "")


@pytest.mark.parametrize(("path", "package"), [("s3://b/a.csv", "s3fs"), ("http://h/a.csv", "aiohttp")])
def test_a_missing_package_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch, path: str, package: str) -> None:
    """Exit 2, before anything moves."""
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == package or name == "fsspec":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=package) as raised:
        remote.find_remote(path, None, Storage(), None)  # type: ignore[arg-type]
    assert (raised.value.code, raised.value.hint) == ("package_missing", "pip install 'rapidbyte[remote]'")


def test_reading_on_fetches_ahead_and_a_jump_does_not(web: tuple[Folder, str]) -> None:
    """Few requests for text, no more bytes than are wanted for Parquet's columns."""
    folder, url = web
    folder.files["/a.csv"] = bytes(range(256)) * 40_000
    (file,) = FilesSource(FilesSourceSpec(format="csv"))._find(f"{url}/a.csv")
    assert isinstance(file, DataFile)
    folder.requests.clear()
    with RemoteFile(file) as opened:
        assert opened.read(1000) == folder.files["/a.csv"][:1000]
        assert opened.read(1000) == folder.files["/a.csv"][1000:2000]
        assert opened.read(5000) == folder.files["/a.csv"][2000:7000]
        assert opened.seek(9_000_000) == 9_000_000
        assert opened.read(10) == folder.files["/a.csv"][9_000_000:9_000_010]
        assert opened.seek(-3, 2) == len(folder.files["/a.csv"]) - 3
        assert opened.read() == bytes([253, 254, 255])
        assert opened.read(10) == b""
    assert [each[2] for each in folder.requests] == [
        "bytes=0-999",
        f"bytes=1000-{1000 + remote.AHEAD_BYTES - 1}",
        "bytes=9000000-9000009",
        "bytes=10239997-10239999",
    ]
