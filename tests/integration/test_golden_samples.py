"""Compares the results of every sample, and of sends in every state, with tests/golden.

Each sample under events/ has a file of the same name under tests/golden/. Each function in
`OUTCOMES` has one under tests/golden/outcomes/. A file lists the steps that
tests/support/golden.py records. After an intended change, write the files again and review the
difference:

    UPDATE_GOLDEN=1 .venv/bin/pytest -q tests/integration/test_golden_samples.py
"""

import base64
import difflib
import json
import os
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.support.environment import CLIENT
from tests.support.golden import DAY, HOUR, MINUTE, Recorder, pretty, recording
from tests.support.requests import TOO_LARGE_TO
from tests.support.template import ROOT

Json = dict[str, Any]

GOLDEN, SAMPLES = ROOT / "tests/golden", ROOT / "events"
NO_SAMPLES = {"env.json"}
"""Files under events/ that contain no message: the variables for `sam local invoke`."""
UPDATES = os.environ.get("UPDATE_GOLDEN") == "1"
LINES_SHOWN = 80
MESSAGE: Json = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
UNDELIVERABLE, UNSUBSCRIBED = "+1 945 555 0100", "+1 999 555 0100"
"""The simulator's numbers for these two results."""


def samples() -> dict[str, Path]:
    """Each sample, by the name of its golden file."""
    files = {str(path.relative_to(SAMPLES)): path for path in SAMPLES.rglob("*.json")}
    return {name: path for name, path in sorted(files.items()) if name not in NO_SAMPLES}


def play(recorder: Recorder, sample: Path) -> None:
    """Send a sample in every way that it can arrive, twice each, until it is delivered."""
    text = sample.read_text()
    document = json.loads(text)
    if "httpMethod" in document:
        for _ in range(2):
            recorder.invoke("api", recorder.relay.api, document)
    elif "Records" in document:
        for _ in range(2):
            recorder.invoke("worker", recorder.relay.worker, document)
    elif sample.parent.name == "envelopes":
        for _ in range(2):
            recorder.enqueue(text)
            recorder.work()
    else:
        # A key in the body counts only without a header.
        key = {} if "idempotencyKey" in document else {"Idempotency_Key": "golden"}
        for _ in range(2):
            recorder.post(text, **key)
        recorder.post(text, Idempotency_Key="golden-async", Prefer="respond-async")
        recorder.work()
        recorder.enqueue(text)
        recorder.enqueue(text, client=CLIENT, Idempotency_Key="golden")
        recorder.work()
    recorder.get_all()
    recorder.wait(DAY)  # quiet hours have ended by then
    recorder.poll()
    recorder.publish()


def delivered(recorder: Recorder) -> None:
    body = MESSAGE | {"to": ["+1 212 555 0100", "+1 212 555 0101"], "reference": "order-8812"}
    recorder.post(body, Idempotency_Key="k")
    poll_to_the_end(recorder)
    recorder.post(body, Idempotency_Key="k")


def undelivered(recorder: Recorder) -> None:
    recorder.post(MESSAGE | {"to": [UNDELIVERABLE]}, Idempotency_Key="undeliverable")
    recorder.post(MESSAGE | {"to": [UNSUBSCRIBED]}, Idempotency_Key="unsubscribed")
    poll_to_the_end(recorder)


def partially_delivered(recorder: Recorder) -> None:
    to = ["+1 212 555 0100", UNDELIVERABLE, UNSUBSCRIBED]
    recorder.post(MESSAGE | {"to": to}, Idempotency_Key="k")
    poll_to_the_end(recorder)


def never_reported(recorder: Recorder) -> None:
    """The upstream throttles, has no report, and then says `Started` until polling ends."""
    recorder.post(MESSAGE | {"message": encoded(920212)}, Idempotency_Key="k")
    for then in ("429-50100", "404"):
        recorder.simulator.fail("deliveries", then)
        recorder.wait(2 * MINUTE)
        recorder.poll()
    for wait in (DAY, DAY, DAY - HOUR / 2, DAY):  # the last poll is due after 71 hours
        recorder.wait(wait)
        recorder.poll()


def unknown(recorder: Recorder) -> None:
    for then in ("reset-after-accept", "500", "502-html"):
        recorder.simulator.fail("send", then)
        recorder.post(MESSAGE, Idempotency_Key=then)
        recorder.post(MESSAGE, Idempotency_Key=then)
        recorder.wait(HOUR)  # longer than every pause
    recorder.simulator.fail("send", "reset-after-accept")
    recorder.enqueue(MESSAGE)
    recorder.work()


def resent(recorder: Recorder) -> None:
    """The client chose `onUnknown: "resend"`."""
    for then in ("reset-after-accept", "500"):
        recorder.simulator.fail("send", then)
    recorder.post(MESSAGE | {"onUnknown": "resend"}, Idempotency_Key="k")
    for _ in range(2):
        recorder.wait(HOUR)
        recorder.work()


def rejected(recorder: Recorder) -> None:
    recorder.simulator.fail("send", "400")
    recorder.post(MESSAGE, Idempotency_Key="400")
    several = MESSAGE | {"message": encoded(940020)}
    recorder.post(several, Idempotency_Key="several")
    recorder.post(several, Idempotency_Key="several")
    recorder.enqueue(several)
    recorder.work()


def partial(recorder: Recorder) -> None:
    """One of two sends is rejected."""
    recorder.simulator.fail("send", "400")
    to = ["+1 212 555 0100", {"mobile": "+1 212 555 0101", "key": "ExampleSubKey1"}]
    recorder.post(MESSAGE | {"to": to}, Idempotency_Key="k")


def throttled(recorder: Recorder) -> None:
    for then in ("401", "429-50100", "429-50200", "503-50300"):
        recorder.simulator.fail("send", then)
        recorder.post(MESSAGE, Idempotency_Key=then)
    recorder.enqueue(MESSAGE)
    recorder.work()
    recorder.simulator.fail("send", "429-50100", retry_after=7)
    recorder.enqueue(MESSAGE, client="calendar")
    recorder.work()
    for _ in range(2):
        recorder.wait(HOUR)
        recorder.work()


def failed(recorder: Recorder) -> None:
    recorder.simulator.fail("send", "503-50300", times=-1)
    recorder.post(MESSAGE, Idempotency_Key="k")
    recorder.enqueue(MESSAGE, client="calendar", Idempotency_Key="k")
    recorder.work()
    recorder.wait(2 * DAY)
    recorder.work()
    recorder.post(MESSAGE, Idempotency_Key="k")


def too_old(recorder: Recorder) -> None:
    recorder.post(MESSAGE, Idempotency_Key="k", Prefer="respond-async")
    recorder.wait(2 * DAY)
    recorder.work()


def stalled(recorder: Recorder) -> None:
    """One process dies while it sends, another one before it enqueues."""
    recorder.post(MESSAGE, Idempotency_Key="k", Prefer="respond-async")
    recorder.relay.begin_elsewhere(lease=MINUTE)
    recorder.post(MESSAGE, Idempotency_Key="k")
    with recorder.relay.queue_away():
        recorder.post(MESSAGE, Idempotency_Key="another", Prefer="respond-async")
    recorder.wait(HOUR)
    recorder.sweep()
    recorder.work()


def refused_from_the_queue(recorder: Recorder) -> None:
    recorder.enqueue("this is not JSON", client=CLIENT, Idempotency_Key="not-json")
    recorder.enqueue({"send": {"id": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "n": 1}})
    recorder.enqueue(MESSAGE, client="two words")
    recorder.enqueue(MESSAGE | {"idempotencyKey": "\u00fc"})
    recorder.enqueue(MESSAGE | {"text": " ", "+1 212 555 0100": "an unknown field"})
    recorder.enqueue(MESSAGE, client=CLIENT, Idempotency_Key="k")
    recorder.enqueue(MESSAGE | {"text": "Another one"}, client=CLIENT, Idempotency_Key="k")
    recorder.work()


def refused_requests(recorder: Recorder) -> None:
    recorder.post("this is not JSON")
    recorder.post(MESSAGE, Content_Type="text/plain")
    recorder.post(MESSAGE, Idempotency_Key="\u00fc")
    recorder.post(MESSAGE | {"to": TOO_LARGE_TO})
    recorder.post(MESSAGE | {"text": "x" * 1_048_576})
    recorder.post(MESSAGE, Idempotency_Key="k")
    recorder.post(MESSAGE | {"text": "Another one"}, Idempotency_Key="k")
    [item] = recorder.relay.items()
    for path in (
        f"/messages/{item['pk']['S'].removeprefix('MSG#')}",
        f"/tokens/{item['tokenId']['S']}",
        "/messages/01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "/tokens/nobodys",
        "/elsewhere",
    ):
        recorder.get(path, client="another-client")


def named_message(recorder: Recorder) -> None:
    """The catalogue has the message's id and defaults."""
    named = MESSAGE | {"message": "order-shipped", "subscribe": True}
    recorder.post(named, Idempotency_Key="named")
    recorder.enqueue(named | {"onUnknown": "hold", "keyword": "PLAY"})
    for name in ("only-for-another", "order-shiped"):
        recorder.post(MESSAGE | {"message": name}, Idempotency_Key=name)
        recorder.enqueue(MESSAGE | {"message": name})
    recorder.work()


def without_a_key(recorder: Recorder) -> None:
    recorder.post(MESSAGE)
    recorder.post(MESSAGE, X_Amzn_Trace_Id="Root=1-67891233-abcdef012345678912345678")
    recorder.post(MESSAGE, Prefer="respond-async")
    recorder.work()


OUTCOMES: Mapping[str, Callable[[Recorder], None]] = {
    f"outcomes/{outcome.__name__.replace('_', '-')}.json": outcome
    for outcome in (
        delivered,
        failed,
        named_message,
        never_reported,
        partial,
        partially_delivered,
        refused_from_the_queue,
        refused_requests,
        rejected,
        resent,
        stalled,
        throttled,
        too_old,
        undelivered,
        unknown,
        without_a_key,
    )
}


def encoded(number: int) -> str:
    """Encode a message id that makes the simulator fail in the way its README lists."""
    return base64.urlsafe_b64encode(f"{number}:78:0".encode()).decode().rstrip("=")


def poll_to_the_end(recorder: Recorder) -> None:
    """Poll four times, each time when a poll is due; the simulator then reports `Finished`."""
    for minutes in (1, 2, 6, 18):
        recorder.wait(minutes * MINUTE)
        recorder.poll()


def compare(name: str, recorder: Recorder) -> None:
    """Compare a recording with its golden file, or write the file."""
    path, text = GOLDEN / name, f"{pretty(recorder.steps)}\n"
    if UPDATES:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        pytest.skip(f"{name} is written")
    assert path.exists(), f"{name} is missing; write it with UPDATE_GOLDEN=1"
    expected = path.read_text(encoding="utf-8").splitlines()
    difference = difflib.unified_diff(
        expected, text.splitlines(), f"tests/golden/{name}", "now", lineterm=""
    )
    shown = "\n".join(islice(difference, LINES_SHOWN))
    assert not shown, shown


@pytest.mark.parametrize("name", samples())
def test_a_sample_has_the_results_of_its_golden_file(aws: None, name: str) -> None:
    _ = aws
    with recording(polls_per_status=0) as recorder:
        play(recorder, samples()[name])
    compare(name, recorder)


@pytest.mark.parametrize("name", OUTCOMES)
def test_an_outcome_has_the_results_of_its_golden_file(aws: None, name: str) -> None:
    _ = aws
    with recording() as recorder:
        OUTCOMES[name](recorder)
        recorder.get_all()
        recorder.publish()
    compare(name, recorder)


def test_every_golden_file_has_a_sample_and_every_sample_a_golden_file() -> None:
    names = {str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*.json")}
    names = {name for name in names if not name.startswith("items/")}  # test_golden_items.py
    expected = samples().keys() | OUTCOMES.keys()
    if UPDATES:
        for name in names - expected:
            (GOLDEN / name).unlink()
        pytest.skip("files without a sample are removed")
    assert names == expected
