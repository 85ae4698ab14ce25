"""Reads the evidence of a soak: ledger, queues, logs and the upstream's calls."""

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final

import httpx

from smsrelay.messages.strict_json import json_object
from tests.promise.faults import UPSTREAM_FAULTS, Effect
from tests.promise.history import Attempt, History
from tests.promise.invariants import ENDED
from tests.promise.observation import (
    Content,
    Observation,
    StoredSend,
    content_of,
    count_waiting,
    observe,
    stored_sends,
)
from tests.promise.soak.clients import Poster
from tests.promise.soak.requests import Request
from tools.local_stack import ROOT
from tools.local_stack.polling import wait_for
from tools.local_stack.servers import emulator_log
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import Stack

MOST_EVENTS: Final = 10_000
"""The most log events in a response of MiniStack, which gives no token for the rest."""
BROKEN_BATCH: Final = re.compile("failed processing SQS batch .* errorMessage=(.*)\\)$")
LOOKING_AT_ONCE: Final = 4
"""Parallel requests when sends are looked up over HTTP."""
REDRIVEN_WITHIN: Final = 60.0
"""The most seconds until redriven sends end."""


CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


class Evidence:
    """Reads a stack from outside. Its methods block on the network."""

    def __init__(self, stack: Stack, requests: Sequence[Request]) -> None:
        self._stack = stack
        self._messages = {request.message.reference: request.message for request in requests}
        self._control = SimulatorControl(stack.simulator_url)

    def sends(self) -> list[StoredSend]:
        """Return all sends in the ledger."""
        return stored_sends(self._stack.clients.dynamodb, self._stack.table)

    def waiting(self, *, visible_only: bool = False) -> int:
        """Return the number of messages in the queue."""
        sqs, url = self._stack.clients.sqs, self._stack.queue_url
        return count_waiting(sqs, url, visible_only=visible_only)

    def put_forward(self, send: StoredSend, seconds: float) -> bool:
        """Make a queued send due `seconds` earlier; return False if it has changed."""
        client = self._stack.clients.dynamodb
        try:
            client.update_item(
                TableName=self._stack.table,
                Key={
                    "pk": {"S": f"MSG#{send.message_id}"},
                    "sk": {"S": f"SEND#{send.number:03d}"},
                },
                UpdateExpression="SET dueAt = :past",
                ConditionExpression="#status = :queued AND dueAt = :seen",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={
                    ":queued": {"S": "queued"},
                    ":seen": {"N": f"{send.due_at:.3f}"},
                    ":past": {"N": f"{send.due_at - seconds:.3f}"},
                },
            )
        except client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def missing(self, taken: Collection[str], sends: Sequence[StoredSend]) -> int:
        """Return how many accepted requests have no send in the ledger yet."""
        return len(set(taken) - {send.reference for send in sends})

    def arrivals(self) -> int:
        """Return how many sends the upstream accepted."""
        return len(self._control.sent())

    @cached_property
    def calls(self) -> list[dict[str, Any]]:
        """The calls to the upstream, read once."""
        return self._control.calls()

    def upstream_faults(self) -> Counter[str]:
        """Return the number of the upstream's faults, by kind."""
        faults = (call["fault"] for call in self.calls)
        return Counter(fault for fault in faults if fault not in {None, "ok"})

    def broken_batches(self) -> Counter[str]:
        """Return the number of batches that failed completely, by MiniStack's error message."""
        log = emulator_log(self._stack.state).read_text(errors="replace")
        found = (BROKEN_BATCH.search(line) for line in log.splitlines())
        return Counter(match[1] for match in found if match)

    def observe(self) -> Observation:
        """Return everything that can be seen at the end."""
        stack = self._stack
        seen = observe(
            stack.clients,
            table=stack.table,
            queue_url=stack.queue_url,
            dead_letter_queue_url=stack.dead_letter_queue_url,
            sent=self._control.sent(),
            log="\n".join(self._log_lines()),
        )
        # The remaining messages were delivered again while their sends were being sent.
        return replace(seen, waiting=0)

    def history(self, poster: Poster, seen: Observation) -> History:
        """Return what happened, as far as it can be seen: a kill can have affected any send."""
        contents = {
            send.name: self._messages[send.reference].contents[send.number - 1]
            for send in seen.sends
        }
        lines = [*map(json_object, seen.log.splitlines())]
        # A set, because a line can occur twice. The ledger is included, because a process can be
        # killed between a write and its line.
        ended = {
            (line["reason"], line["send"], line["attempt"]) for line in lines if "attempt" in line
        } | {(send.reason, send.name, send.attempts) for send in seen.sends}
        slow = {contents[send] for reason, send, _ in ended if reason == "read-timeout"}
        attempts = [
            _attempt(call, slow) for call in self.calls if call["route"] == "send" and call["raw"]
        ]
        by_lease = Counter(send for reason, send, _ in ended if reason == "lease-expired")
        # The line about a lease is missing if the response to its write was lost. But a process
        # logs a tokenId as soon as it receives it.
        logged = {line.get("token_id") for line in lines}
        unlogged = Counter(
            it.content
            for it in attempts
            if it.effect is Effect.ACCEPTED and it.token_id not in logged
        )
        return History(
            self._messages,
            answers=poster.history,
            enqueued=poster.enqueued,
            posted=Counter(poster.posted),
            attempts=attempts,
            abandoned=Counter(
                {name: max(by_lease[name], unlogged[own]) for name, own in contents.items()}
            ),
            found=[*self._look_up(seen.sends)],
            max_attempts=1,  # the soak does not judge whether the limit was reached
        )

    def _look_up(self, sends: Sequence[StoredSend]) -> list[dict[str, Any]]:
        """Request each accepted send over HTTP by id, tokenId and key."""
        questions = [
            (send.name, question)
            for send in sends
            if send.token_id
            for question in (
                f"/messages/{send.message_id}",
                f"/tokens/{send.token_id}",
                f"/messages?idempotencyKey={self._messages[send.reference].key}",
            )
        ]
        with httpx.Client(
            base_url=self._stack.api_url,
            headers={"x-api-key": self._stack.api_key},
            trust_env=False,
            timeout=30,
        ) as api:

            def ask(question: str) -> dict[str, Any]:
                answer = api.get(question)
                return {"question": question, "body": answer.json(), "status": answer.status_code}

            # Sends of one message share the requests by id and key.
            distinct = {question for _, question in questions}
            with ThreadPoolExecutor(LOOKING_AT_ONCE) as pool:
                answers = dict(zip(distinct, pool.map(ask, distinct), strict=True))
        return [{"send": name} | answers[question] for name, question in questions]

    def redrive(self, before: Observation) -> Observation:
        """Redrive all dead letters without faults, and return what can be seen afterwards."""
        self._control.reset()
        file = self._stack.state / "stack.json"
        file.write_text(json.dumps(self._stack.published()))
        environment = {
            "PATH": os.environ["PATH"],
            "AWS_ENDPOINT_URL": self._stack.aws_endpoint_url,
            **CREDENTIALS,
        }
        # A send can have two dead letters: the second command removes the one that is left.
        for _ in range(2):
            code = subprocess.call(  # noqa: S603 - our own command
                [ROOT / "cli/smsrelay", "redrive", "--yes", "--limit=1000", "--stack-file", file],
                stdout=subprocess.DEVNULL,
                env=environment,
            )
            assert code in {0, 1}, "1 means that a dead letter was not redriven"
            self._wait_for_ends()
        after = self.observe()
        return replace(after, arrivals=[*before.arrivals, *after.arrivals])

    def _wait_for_ends(self) -> None:
        def has_ended() -> bool:
            return ENDED.issuperset(it.status for it in self.sends())

        with suppress(TimeoutError):  # the invariants judge the sends that have not ended
            wait_for(has_ended, what="redriven sends", seconds=REDRIVEN_WITHIN, every=1.0)

    def dump(self) -> dict[str, list[Any]]:
        """Return the raw evidence: the ledger, and the upstream's calls and sends."""
        pages = self._stack.clients.dynamodb.get_paginator("scan").paginate(
            TableName=self._stack.table
        )
        return {
            "ledger": [entry for page in pages for entry in page["Items"]],
            "calls": self.calls,
            "sent": self._control.sent(),
        }

    def _log_lines(self) -> Iterator[str]:
        logs = self._stack.clients.logs
        for group in logs.describe_log_groups()["logGroups"]:
            start = 0
            while True:
                events = logs.filter_log_events(
                    logGroupName=group["logGroupName"], startTime=start, limit=MOST_EVENTS
                )["events"]
                yield from (event["message"] for event in events)
                if len(events) < MOST_EVENTS:
                    break
                # From the last event's millisecond on: lines may come twice, but none is missed.
                start = max(start + 1, events[-1]["timestamp"])


def _attempt(call: dict[str, Any], slow: Collection[Content]) -> Attempt:
    content = content_of(call["raw"])
    effect = UPSTREAM_FAULTS.get(call["fault"] or "", Effect.ACCEPTED)
    if effect is Effect.ACCEPTED and content in slow:
        effect = Effect.DOUBT  # the machine was too slow for the time-out
    return Attempt(
        content,
        at=datetime.fromisoformat(call["at"]).timestamp(),
        effect=effect,
        token_id=call["tokenId"],
        response=call["answer"],
        delay=0.0 if call["status"] in {401, None} else 1.0,
        died=True,  # possibly
    )
