"""Writes the pages of docs/ that are generated: the keys of a pipeline file, the options, the exit codes."""

from __future__ import annotations

from pathlib import Path

from rapidbyte.cli.reference import PAGES
from rapidbyte.config.reference import reference

FOLDER = Path(__file__).parent


def main() -> None:
    """Each page from the code that it describes."""
    for name, page in {**PAGES, "pipeline": reference}.items():
        (FOLDER / f"{name}.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
