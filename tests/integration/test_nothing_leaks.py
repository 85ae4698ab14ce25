"""Checks that tokens, secrets, numbers and texts occur only where tests/support/canaries.py allows.

Child processes run the handlers with all faults, with debug switches on and off. The tests search
everything that they let out.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from smsrelay.messages.request import MessageRequest
from smsrelay.messages.upstream_calls import build_calls
from smsrelay.security.redaction import MAX_LENGTH, redact, without
from tests.support import leaks
from tests.support.canaries import (
    FIELDS,
    LONE,
    NUMBERED,
    PLANTED,
    REQUEST,
    Place,
    leaves,
    planted,
    spellings,
    written,
)
from tests.support.leaks import Extent
from tests.support.requests import NOW, request
from tests.support.template import ROOT

THOROUGH = os.environ.get("SMSRELAY_THOROUGH") == "1"
SECONDS = 1_500 if THOROUGH else 300

# Variables that make libraries log more, by what they turn on.
SWITCHES: Mapping[str, Mapping[str, str]] = {
    "the event, by Powertools": {"POWERTOOLS_LOGGER_LOG_EVENT": "true"},
    "Powertools for development": {"POWERTOOLS_DEV": "true"},
    "Powertools' own log": {"POWERTOOLS_DEBUG": "true"},
    "our log": {"POWERTOOLS_LOG_LEVEL": "DEBUG"},
    "our log, the old way": {"LOG_LEVEL": "DEBUG"},
    "our log, by chance": {"POWERTOOLS_LOGGER_SAMPLE_RATE": "1"},
    "our lines twice": {"POWERTOOLS_LOG_DEDUPLICATION_DISABLED": "true"},
    "every library's log": {"AWS_LAMBDA_LOG_LEVEL": "DEBUG", "AWS_LAMBDA_LOG_FORMAT": "JSON"},
    "every library's log, as text": {"AWS_LAMBDA_LOG_LEVEL": "TRACE"},
    "responses and errors, by a tracer": {
        "POWERTOOLS_TRACER_CAPTURE_RESPONSE": "true",
        "POWERTOOLS_TRACER_CAPTURE_ERROR": "true",
        "POWERTOOLS_TRACE_MIDDLEWARES": "true",
    },
    "parameters": {"POWERTOOLS_PARAMETERS_MAX_AGE": "0", "POWERTOOLS_PARAMETERS_SSM_DECRYPT": "1"},
    "Python's development mode": {"PYTHONDEVMODE": "1", "PYTHONASYNCIODEBUG": "1"},
    "older names of HTTP clients' switches": {"HTTPX_LOG_LEVEL": "trace", "DEBUG": "*"},
}


class Run(NamedTuple):
    """The environment of a child process, and the extent of its run."""

    environment: Mapping[str, str]
    extent: Extent


_ALL = {name: value for switch in SWITCHES.values() for name, value in switch.items()}
RUNS: dict[str, Run] = {
    "nothing": Run({}, Extent.ALL if THOROUGH else Extent.USUAL),
    "everything": Run(_ALL, Extent.BRIEF),
}
if THOROUGH:  # each switch alone, in case one turns another off
    RUNS["everything, as text"] = Run(_ALL | {"AWS_LAMBDA_LOG_FORMAT": "Text"}, Extent.BRIEF)
    RUNS |= {name: Run(switch, Extent.BRIEF) for name, switch in SWITCHES.items()}


class Played(NamedTuple):
    """The output of a child process."""

    code: int
    log: str
    words: Mapping[str, list[str]]


def _play(run: Run, folder: Path) -> Played:
    file, log = folder / "words.json", folder / "log.txt"
    with log.open("wb") as output:
        ended = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "tests.support.leaks", str(file), run.extent.name],
            cwd=ROOT,
            env=_without_switches()
            | {"PYTHONPATH": os.pathsep.join(["layers/smsrelay", "cli", "."])}
            | dict(run.environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
    words = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return Played(ended.returncode, log.read_text(encoding="utf-8", errors="replace"), words)


def _without_switches() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _ALL and not name.startswith(("POWERTOOLS_", "COV_"))
    }


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[Played]]:
    """The child processes, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return {
            name: pool.submit(_play, run, tmp_path_factory.mktemp("leaks"))
            for name, run in RUNS.items()
        }


@pytest.mark.parametrize("name", RUNS)
def test_no_canary_occurs_where_it_must_not(played: dict[str, Future[Played]], name: str) -> None:
    code, log, words = played[name].result()
    assert code == 0, log[-3_000:]
    everything = {**words, Place.LOG: log.splitlines()}
    found = [
        f"{row_name} in {place}: {each}"
        for place in Place
        for row_name, row in PLANTED.items()
        if row is not None
        for each in row.found("\n".join(everything.get(place, [])), place)
    ]
    assert not found, "\n".join(found)


def test_every_canary_occurs_where_it_may(played: dict[str, Future[Played]]) -> None:
    """The allowed canaries occur, which proves that the search can find them."""
    _, log, words = played["nothing"].result()
    everything = {**words, Place.LOG: log.splitlines()}
    for place in Place:
        repeated = "\n".join(everything.get(place, []))
        assert repeated, f"nothing came out at {place}"
    for place in (Place.UPSTREAM, Place.OPEN):
        for row_name in ("message", "to.key", "attribute value", "text", "mediaUrl", "keyword"):
            assert planted(row_name).word in "".join(everything[place]), (row_name, place)
        for row_name in ("to", "to.mobile"):
            assert str(planted(row_name).number) in "".join(everything[place]), (row_name, place)
    for row_name, place in (
        ("reference", Place.OWNER),
        ("reference", Place.ENDED),
        ("reference", Place.OPERATOR),
        ("client", Place.LOG),
        ("tokenId", Place.LOG),
        ("tokenId", Place.OWNER),
        ("unknown field", Place.OWNER),
        ("idempotencyKey", Place.LETTERS),
        ("body that is no JSON", Place.LETTERS),
        ("access token", Place.UPSTREAM),
        ("client secret", Place.UPSTREAM),
    ):
        assert planted(row_name).word in "".join(everything[place]), (row_name, place)


def test_the_log_still_describes_what_happened(played: dict[str, Future[Played]]) -> None:
    _, log, _ = played["nothing"].result()
    for line in (
        '"exception_name":"RuntimeError"',
        '"exception_name":"QueueUnavailableError"',
        "ClientError: ValidationException (SendMessageBatch)",
        "adapters/dynamodb_ledger.py:",
        "failed unexpectedly",
        "[ERROR] UnexpectedError: ",
    ):
        assert line in log, line


def test_every_field_of_a_request_has_a_row() -> None:
    """After adding a field, add its places to `canaries.FIELDS`, and the field to `REQUEST`."""
    assert sorted(leaves(MessageRequest)) == sorted(FIELDS)
    top = {path.partition(".")[0] for path in FIELDS} - {"idempotencyKey"}
    assert set(REQUEST) == top


def test_no_canary_contains_another_one() -> None:
    rows = [row for row in PLANTED.values() if row is not None]
    tails = [row.number[-7:] for row in rows if row.number]
    assert len(set(tails)) == len(tails)
    assert len({row.word for row in rows}) == len(rows)
    assert {len(row.word) for row in rows} == {13}
    assert all(row.number[4:9] == "55501" for row in rows if row.number)


@pytest.mark.parametrize(
    "coincidence",
    [
        "2026-11-26 21:05:55,011+0000",
        "2026-11-26T20:55:50.114Z",
        '{"createdAt":"2026-11-26T21:05:55.011+00:00","status":"accepted"}',
        r"{\"createdAt\":\"2026-11-26T15:55:01.014+00:00\"}",
        '"Timestamp":1795555010114,',
        '{"N": "1795555010.114"}',
        "83446e70-a1a4-48e2-9a4c-87665550101b",
        "d41d8cd98f00b2045550101800998ecf",
        '"OverheadLatency":[5.5,5.0,1.0,1.4]',
    ],
)
def test_times_and_random_ids_are_no_phone_numbers(coincidence: str) -> None:
    """The last digits of every planted number occur in some times of each hour."""
    assert not [
        each
        for row in PLANTED.values()
        if row is not None
        for each in row.found(coincidence, Place.OTHERS)
    ]


@pytest.mark.parametrize(
    "around",
    [
        "2026-11-26 21:05:55,011+0000 {} 2026-11-26T20:55:50.114Z",
        "2026-11-26 21:05:55,011{}",
        "1795555010.114{}",
        "83446e70-a1a4-48e2-9a4c-{}",
        '"OverheadLatency":[{}]',
        '{{"timestamp":"{}"}}',
    ],
)
def test_a_number_beside_a_time_or_an_id_is_found(around: str) -> None:
    for row in PLANTED.values():
        if row is None or row.number is None:
            continue
        for spelled in (row.number, row.number[1:], written(row.number), row.number[-7:]):
            assert list(row.found(around.format(spelled), Place.OTHERS)), (spelled, row)


def test_every_port_is_made_to_fail() -> None:
    methods = {f"{kind.__name__}.{name}" for kind, name in leaks.port_methods()}
    assert {
        "DynamoDbLedger.claim",
        "MobileConnect.send",
        "SqsRetryQueue.put",
        "SqsDeadLetterQueue.put",
        "CachedTokenSource.current",
        "PowertoolsMetrics.count",
    } <= methods


BODIES = {
    "numbers": build_calls(request(**NUMBERED), NOW)[0].body,
    "a subscriber": build_calls(request(**LONE), NOW)[0].body,
}


@pytest.mark.parametrize("kind", BODIES)
def test_every_spelling_of_a_sent_value_is_redacted(kind: str) -> None:
    """Tests the upstream's errors; `redact` needs the body for values such as `text`."""
    body = BODIES[kind]
    repeated = {
        "numbers": ["to", "text", "mediaUrl"],
        "a subscriber": ["to.mobile", "to.key", "attribute value", "text", "mediaUrl"],
    }[kind]
    for name in repeated:
        row = planted(name)
        sent = {
            "to": [row.number, written(row.number or "")],
            "to.mobile": [row.number, written(row.number or "")],
            "mediaUrl": [LONE["mediaUrl"]],
        }.get(name, [row.text])
        for value in sent:
            for spelled in spellings(str(value)):
                for around in ("{} is not valid", "<p>{}</p>", '{{"a":"{}"}}', "x={}&y"):
                    [word] = redact([around.format(spelled)], body)
                    found = list(row.found(word, Place.OWNER))
                    assert not found, (name, spelled, word)
                    if value == row.number:
                        assert not any(map(str.isnumeric, word)), (name, spelled, word)
                    assert len(word) <= MAX_LENGTH


def test_every_spelling_of_a_secret_is_redacted() -> None:
    row = planted("access token")
    for spelled in [*spellings(row.token), *spellings(f"Bearer {row.token}")]:
        [word] = without([f"The token {spelled} has expired."], [row.token])
        assert not list(row.found(word, Place.OWNER)), (spelled, word)
        assert word.startswith("The token") or word == "…", word
