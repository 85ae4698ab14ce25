"""Tests the benchmark's report: ratios, targets, and the committed results."""

import json
from typing import Any

import pytest

from tests.support.template import ROOT
from tools.bench import summary
from tools.bench.summary import TARGETS, Target
from tools.bench.timings import spread

RESULTS: Any = json.loads((ROOT / "tools/bench/results/latest.json").read_text())


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.place)
def test_the_committed_results_have_a_figure_for_each_target(target: Target) -> None:
    assert isinstance(summary.value_at(RESULTS, target.place), int | float)


def test_the_table_shows_missed_and_unmeasured_targets() -> None:
    results = {"cold": {"api": {"vs_lean": 1.7}}, "drain": {"vs_ideal": 0.95}}
    verdicts = {line.split()[0]: line.split()[-1] for line in summary.table(results) if line}
    assert verdicts["cold.api.vs_lean"] == "MISSED"
    assert verdicts["drain.vs_ideal"] == "met"
    assert verdicts["memory.peak_mb"] == "measured"
    assert [target.place for target in summary.missed(results)] == ["cold.api.vs_lean"]


def test_the_table_shows_the_figures_of_every_program() -> None:
    table = "\n".join(summary.table(RESULTS))
    programs = RESULTS["cold"]["api"]["programs"]
    assert len(programs) == 4
    for name, row in programs.items():
        assert f"{name:22}" in table
        assert f"{row['cold_cpu_ms']['median']:.2f} (" in table


def test_the_spread_of_a_sample_is_in_milliseconds() -> None:
    assert spread([0.004, 0.001, 0.002, 0.003, 0.005]) == {"low": 1.5, "median": 3.0, "high": 4.5}
