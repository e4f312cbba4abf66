"""Writes the pages of docs/ that are generated: pipeline file, options, exit codes, the run's result."""

from __future__ import annotations

from pathlib import Path

from rapidbyte.cli.reference import PAGES
from rapidbyte.config.reference import reference
from rapidbyte.config.result_reference import result_page

FOLDER = Path(__file__).parent


def main() -> None:
    """Each page from the code that it describes."""
    for name, page in {**PAGES, "pipeline": reference, "result": _result}.items():
        (FOLDER / f"{name}.md").write_text(page(), encoding="utf-8")


def _result() -> str:
    return result_page((FOLDER / "result-example.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
