"""docs/pipeline.md is what the models say."""

from __future__ import annotations

import re
from pathlib import Path

from rapidbyte import config
from rapidbyte.config.models import FilesPipeline, PostgresPipeline
from rapidbyte.config.problems import keys_of, sections
from rapidbyte.config.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "pipeline.md"


def test_the_page_is_up_to_date() -> None:
    """Run `python -m rapidbyte.config.reference > docs/pipeline.md` when this fails."""
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_every_key_is_on_the_page() -> None:
    """With a meaning, once for each mapping that has it."""
    page = reference()
    for pipeline in (PostgresPipeline, FilesPipeline):
        for path, model in sections(pipeline):
            for key, info in keys_of(model).items():
                assert f"| `{key}` |" in page, f"{path}.{key}"
                assert info.description, f"{path}.{key}"


def test_every_row_has_five_cells() -> None:
    """So that the table is one."""
    rows = [line for line in reference().splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}


def test_the_example_loads(tmp_path: Path) -> None:
    """The page's own pipeline is a good one."""
    found = re.search(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    path = tmp_path / "shop.yaml"
    path.write_text(found[1])
    dsn = "postgresql:///x"
    assert config.load(path, env={"SHOP_DSN": dsn, "WAREHOUSE_DSN": dsn}).pipeline == "shop"


def test_a_key_whose_words_depend_on_the_connector_lists_them_all() -> None:
    """`source.use` above all."""
    section = reference().split("## `source`\n")[1].partition("\n## ")[0]
    (row,) = [line for line in section.splitlines() if "`use`" in line]
    assert row == "| `use` | `postgres`, `files`, `sqlite`, `duckdb` | required | all | The connector. |"
