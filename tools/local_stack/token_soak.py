"""Posts messages while access tokens expire, and checks results and the number of tokens."""

import math
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import httpx

from tools.local_stack.polling import wait_for
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import STATE, LocalStack, Stack

MESSAGE: Final = {"message": "MzA6Nzg6MA", "to": ["+1 212 555 0100"], "text": "Hello"}
EVERY: Final = 0.5
"""Seconds from one request to the next."""
SETTLE_SECONDS: Final = 60
UNAUTHORISED: Final = 401
EARLIEST: Final = 2 / 3
"""The fraction of a short token's lifetime after which the relay renews it at the earliest."""


@dataclass(frozen=True)
class Seen:
    """The results of a run."""

    seconds: float
    token_seconds: int
    fetched: int
    """Tokens fetched in this time."""
    refused: int
    """Sends that the upstream answered with 401; each was retried."""
    answers: Counter[str]
    """HTTP status and message status of the relay's responses."""
    lost: int
    """Messages without an accepted send at the end."""

    @property
    def least(self) -> int:
        """Tokens needed if each is used until it expires."""
        return math.floor(self.seconds / self.token_seconds)

    @property
    def most(self) -> int:
        """Tokens needed if each is renewed as early as allowed."""
        return math.ceil(self.seconds / (self.token_seconds * EARLIEST)) + 1

    def problems(self) -> list[str]:
        """Return the errors of a run."""
        wrong = [answer for answer in self.answers if not answer.startswith("202 ")]
        return [
            *(f"callers were answered {answer}" for answer in wrong),
            *([f"{self.lost} messages were not sent"] if self.lost else []),
            *(
                []
                if self.least <= self.fetched <= self.most
                else ["the number of tokens is out of range"]
            ),
        ]

    def __str__(self) -> str:
        """Format the results in a few lines."""
        answers = ", ".join(f"{count} x {answer}" for answer, count in self.answers.most_common())
        return (
            f"answers to callers    {answers}\n"
            f"upstream's 401s       {self.refused}, each retried\n"
            f"messages not sent     {self.lost}\n"
            f"tokens fetched        {self.fetched} in {self.seconds:.0f} s "
            f"of {self.token_seconds} s each; {self.least} to {self.most} are expected"
        )


class Watch:
    """Posts messages to a stack at regular intervals, and observes the results."""

    def __init__(self, stack: Stack, token_seconds: int) -> None:
        self._token_seconds = token_seconds
        self._api = httpx.Client(
            base_url=stack.api_url,
            headers={"x-api-key": stack.api_key},
            trust_env=False,
            timeout=60,
        )
        self._control = SimulatorControl(stack.simulator_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._api.close()
        self._control.__exit__(*details)

    def run(self, seconds: float, say: Callable[[str], None] = lambda _: None) -> Seen:
        """Post for some seconds, and wait until every message is accepted."""
        began = time.monotonic()
        fetched_before = self._control.tokens_fetched()
        answers, posted, told = Counter[str](), [], 0
        for n in range(math.ceil(seconds / EVERY)):
            self._pause(began + n * EVERY)
            answer = self._api.post("/messages", json=MESSAGE)
            body = answer.json()
            answers[f"{answer.status_code} {body['status']}"] += 1
            if "id" in body:
                posted.append(body["id"])
            if (minute := int(time.monotonic() - began) // 60) > told:
                told = minute
                fetched = self._control.tokens_fetched() - fetched_before
                say(f"{minute} min: {n + 1} requests, {fetched} tokens fetched")
        fetched = self._control.tokens_fetched() - fetched_before
        lasted = time.monotonic() - began
        return Seen(
            seconds=lasted,
            token_seconds=self._token_seconds,
            fetched=fetched,
            refused=sum(
                call["route"] == "send" and call["status"] == UNAUTHORISED
                for call in self._control.calls()
            ),
            answers=answers,
            lost=sum(not self._sent(message_id) for message_id in posted),
        )

    def _pause(self, until: float) -> None:
        wait_for(lambda: time.monotonic() >= until, what="the next request", seconds=EVERY * 2 + 60)

    def _sent(self, message_id: str) -> bool:
        def accepted() -> bool:
            stored = self._api.get(f"/messages/{message_id}").json()
            return bool(stored["status"] == "accepted")

        try:
            return wait_for(accepted, what="the end", seconds=SETTLE_SECONDS, every=0.5)
        except TimeoutError:
            return False


def run(minutes: float, token_seconds: int) -> int:
    """Run on a temporary stack, print the results, and return the exit code.

    Raises:
        StartError: the stack did not start.
    """
    (STATE / "tokens").mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=STATE / "tokens"))
    with LocalStack(folder, token_seconds=token_seconds, say=print) as stack:
        print(f"posting every {EVERY:g} s for {minutes:g} minutes …")
        with Watch(stack, token_seconds) as watch:
            seen = watch.run(minutes * 60, print)
    print()
    print(seen)
    problems = seen.problems()
    for problem in problems:
        print(f"WRONG: {problem}")
    if problems:
        print(f"The logs are in {folder}")
    else:
        shutil.rmtree(folder)
    print(
        f"tokens: {seen.fetched} fetched, {sum(seen.answers.values())} requests, "
        f"{len(problems)} problems"
    )
    return 1 if problems else 0
