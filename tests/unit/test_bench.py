"""What the benchmarks say of themselves: figures that are there, pages made of them, arithmetic."""

import json
import re
from typing import Any

import pytest

from tests.support.template import template
from tools.bench import cost, picture, summary
from tools.bench.cost import Measured
from tools.bench.summary import TARGETS, Target
from tools.bench.timings import Spread

RESULTS: Any = json.loads(cost.RESULTS.read_text())


OUT_OF_REACH = {"drain.vs_ideal"}
"""On this emulator: tools/bench/README.md says why."""


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.place)
def test_the_committed_results_have_every_figure_and_meet_the_targets(target: Target) -> None:
    value = summary.value_of(RESULTS, target.place)
    assert value is not None
    assert target.met(value) or target.place in OUT_OF_REACH


def test_what_is_out_of_reach_is_within_where_the_emulator_is_no_part_of_it() -> None:
    assert RESULTS["drain_few"]["vs_ideal"] >= 0.9


def test_a_figure_that_misses_its_target_is_told() -> None:
    lines, missed = summary.table({"cold": {"api": {"vs_bound": 1.7}}, "drain": {"vs_ideal": 0.95}})
    told = {line.split()[0]: line.split()[-1] for line in lines if line}
    assert told["cold.api.vs_bound"] == "MISSED"
    assert told["drain.vs_ideal"] == "ok"
    assert told["memory.peak_mb"] == "MISSED", "it was not measured"
    assert len(missed) == len(TARGETS) - 1


def test_the_spread_of_a_sample() -> None:
    assert Spread.of([0.004, 0.001, 0.002, 0.003]).rounded(1e3)["middle"] == 2.5


def test_the_picture_is_of_the_results() -> None:
    texts = set(re.findall(r">([^<]+)</text>", picture.svg(RESULTS)))
    assert {chart.title for chart in picture.CHARTS} <= texts
    assert "smsrelay" in texts


def test_the_page_of_costs_is_of_the_results() -> None:
    text = cost.PAGE.read_text()
    assert cost.page(text, RESULTS) == text, "make cost"


def test_the_page_is_about_the_memory_that_the_functions_have() -> None:
    assert template()["Globals"]["Function"]["MemorySize"] == cost.MEMORY_MB


def test_a_million_messages_by_hand() -> None:
    shares = dict(cost.over_http(Measured(512, 0.150, 900.0), follows=False))
    assert shares["API Gateway"] == 3.5
    assert shares["Lambda, time"] == pytest.approx(0.160 * 0.5 * 13.3334)
    assert shares["DynamoDB, writes"] == pytest.approx(5 * 0.625), "put, put, three of the indexes"
    assert shares["CloudWatch Logs"] == pytest.approx(0.9 * 0.5)
    followed = dict(cost.over_http(Measured(512, 0.150, 900.0)))
    looks = 3 * 2 + 2
    reads = 1.5 * 3 * 0.125
    assert followed["deliveries, writes and reads"] == pytest.approx(looks * 0.625 + reads)
    queued = dict(cost.over_the_queue(Measured(512, 0.030, 900.0)))
    assert queued["SQS"] == pytest.approx(0.4 * 1.2)
    assert queued["Lambda, requests"] == pytest.approx(0.02)
