"""A benchmark's figures: medians, ratios of the same iteration, noise, the words of the report."""

from __future__ import annotations

import json

from rapidbyte.bench.contest import ONE_PIPE
from rapidbyte.bench.document import to_document, to_text
from rapidbyte.bench.figures import noise_note
from tests.kit.bench_reports import report


def test_a_ratio_is_the_median_over_iterations_and_not_the_ratio_of_medians() -> None:
    """A machine that was slow for one iteration was so for both."""
    found = report({ONE_PIPE: (1.0, 2.0, 4.0), "rapidbyte, 2 workers": (3.0, 2.0, 4.0)}).lines[1]
    assert (found.wall_s, found.wall_min_s, found.wall_max_s) == (3.0, 2.0, 4.0)
    assert (found.to_floor, found.to_floor_min, found.to_floor_max) == (1.0, 1.0, 3.0)
    assert (found.efficiency, found.rows_per_s, found.walls_s) == (1.0, 1_000_000 / 3, (3.0, 2.0, 4.0))


def test_phases_are_medians_and_what_the_process_took_beside_its_run_is_the_start() -> None:
    """All of rapidbyte's phases; none for psql, which does not tell."""
    floor, ours = report({ONE_PIPE: (1.0,), "rapidbyte, 2 workers": (3.0,)}).lines
    assert floor.phases is None
    assert ours.phases == {
        "start_s": 0.5,
        "preflight_s": 0.1,
        "prepare_s": 0.1,
        "load_s": 2.0,
        "finalize_s": 0.2,
        "cleanup_s": 0.1,
    }
    assert (ours.worker_active_s, ours.worker_wait_s, ours.bottleneck) == (1.0, 0.25, "source")
    assert ours.advice == "Give the source more cores."


def test_a_run_without_rows_has_no_rate_and_no_ratio() -> None:
    """It is measured for its seconds."""
    empty = report({ONE_PIPE: (1.0,), "rapidbyte, no rows": (0.5,)}).lines[1]
    assert (empty.rows_per_s, empty.mb_per_s, empty.to_floor, empty.wall_s) == (0.0, 0.0, None, 0.5)


def test_noise_is_told_from_half_as_long_again() -> None:
    """By the contender's name and its bounds."""
    quiet, loud = report({"a, 1 worker": (1.0, 1.49), "b, 1 worker": (1.0, 1.5)}).lines
    assert noise_note((quiet, loud)) == ("noisy: b, 1 worker took between 1.00 and 1.50 s",)


def test_without_a_floor_there_are_no_ratios() -> None:
    """Where no psql was found."""
    found = report({"rapidbyte, 2 workers": (2.0,)})
    assert (found.floor, found.lines[0].to_floor, found.lines[0].efficiency) == (None, None, None)


def test_the_report_is_plain_json_and_a_table_with_a_line_for_each_contender() -> None:
    """Both have the same figures."""
    found = report({ONE_PIPE: (1.0,), "rapidbyte, 2 workers": (2.0,)})
    document = json.loads(json.dumps(to_document(found)))
    assert (document["schema_version"], document["floor"]) == (2, ONE_PIPE)
    assert [(each["contender"], each["to_floor"]) for each in document["lines"]] == [
        (ONE_PIPE, 1.0),
        ("rapidbyte, 2 workers", 2.0),
    ]
    text = to_text(found).splitlines()
    assert text[0] == "copy, small: 1,000,000 rows, 1.0 MB of COPY, 1 iteration, interleaved, each verified by checksum"
    assert "rapidbyte, 2 workers      2.00  2.00  2.00      2.00         50%    500,000" in "\n".join(text)
