"""What can be seen of a soak: ledger, queues, logs, and what went out."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from smsrelay.sends.ids import message_id
from tools.local_stack.servers import emulator_log
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import Stack
from tools.soak.checks import Arrival, Key, Promise, Seen, Stored
from tools.soak.scenario import Request, part_of

MOST_EVENTS: Final = 10_000
"""What MiniStack gives of a log at once, and it says nothing about the rest."""
BROKEN_BATCH: Final = re.compile("failed processing SQS batch .* errorMessage=(.*)\\)$")
FOUND_NONE: Final = 5
"""Answers without a message after which a queue counts as read."""


@dataclass(frozen=True)
class Item:
    """A send in the ledger, as far as it matters while the soak runs."""

    key: Key
    stored: Stored
    due_at: float
    raw_due_at: str
    """As DynamoDB has it: for a condition that it has not changed."""


class Scene:
    """A stack, looked at from outside. Its methods wait for the network."""

    def __init__(self, stack: Stack, requests: Sequence[Request]) -> None:
        self._stack = stack
        self._requests = {request.marker: request for request in requests}
        self._ids = {
            request.marker: message_id(stack.default_client, request.key) for request in requests
        }
        self._control = SimulatorControl(stack.simulator_url)

    def items(self) -> list[Item]:
        """All sends in the ledger."""
        pages = self._stack.clients.dynamodb.get_paginator("scan").paginate(
            TableName=self._stack.table, ConsistentRead=True
        )
        return [
            _item(entry)
            for page in pages
            for entry in page["Items"]
            if entry["sk"]["S"].startswith("SEND#")
        ]

    def waiting(self, *, visible_only: bool = False) -> int:
        """Messages in the queue: visible, delayed, or being worked on."""
        attributes = self._stack.clients.sqs.get_queue_attributes(
            QueueUrl=self._stack.queue_url, AttributeNames=["All"]
        )["Attributes"]
        visible = "ApproximateNumberOfMessages"
        return sum(
            int(value)
            for name, value in attributes.items()
            if name == visible or (name.startswith(visible) and not visible_only)
        )

    def put_forward(self, item: Item, seconds: float) -> bool:
        """Let a queued send have been due for `seconds` more; False if it has moved by itself."""
        client = self._stack.clients.dynamodb
        try:
            client.update_item(
                TableName=self._stack.table,
                Key={
                    "pk": {"S": f"MSG#{item.key[0]}"},
                    "sk": {"S": f"SEND#{item.key[1]:03d}"},
                },
                UpdateExpression="SET dueAt = :past",
                ConditionExpression="#status = :queued AND dueAt = :seen",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={
                    ":queued": {"S": "queued"},
                    ":seen": {"N": item.raw_due_at},
                    ":past": {"N": f"{item.due_at - seconds:.3f}"},
                },
            )
        except client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def missing(self, taken: AbstractSet[str], items: Sequence[Item]) -> int:
        """How many requests bind, and have no send in the ledger yet."""
        stored = {item.key[0] for item in items}
        return sum(self._ids[marker] not in stored for marker in taken)

    def arrivals(self) -> int:
        """How many sends have gone out."""
        return len(self._control.sent())

    @cached_property
    def calls(self) -> list[dict[str, Any]]:
        """The calls that the upstream has met; as they were when first asked for."""
        return self._control.calls()

    def upstream_faults(self) -> Counter[str]:
        """The faults that have struck, by kind."""
        faults = (call["fault"] for call in self.calls)
        return Counter(fault for fault in faults if fault not in {None, "ok"})

    def broken_batches(self) -> Counter[str]:
        """The batches of the queue that have failed whole, by what MiniStack says of them."""
        log = emulator_log(self._stack.state).read_text(errors="replace")
        found = (BROKEN_BATCH.search(line) for line in log.splitlines())
        return Counter(match[1] for match in found if match)

    def seen(self, taken: AbstractSet[str]) -> Seen:
        """Everything, at the end; `taken` are the markers of the requests that bind.

        Dead letters are gone from their queue afterwards, for a while.
        """
        letters, refused = self._dead_letters()
        return Seen(
            promises=[
                Promise((self._ids[marker], n), request.hold, taken=marker in taken)
                for marker, request in self._requests.items()
                for n in range(1, len(request.parts) + 1)
            ],
            stored={item.key: item.stored for item in self.items()},
            arrived=self._arrived(),
            letters=letters,
            log="\n".join(self._log_lines()),
            refused=refused,
        )

    def dump(self) -> dict[str, list[Any]]:
        """The evidence as it is: the ledger, and the upstream's calls and sends."""
        pages = self._stack.clients.dynamodb.get_paginator("scan").paginate(
            TableName=self._stack.table
        )
        return {
            "ledger": [entry for page in pages for entry in page["Items"]],
            "calls": self.calls,
            "sent": self._control.sent(),
        }

    def _arrived(self) -> dict[Key, list[Arrival]]:
        told = {
            call["tokenId"]
            for call in self.calls
            if call["tokenId"] and call["tokenId"] in (call["answer"] or "")
        }
        arrived: dict[Key, list[Arrival]] = {}
        for sent in self._control.sent():
            arrival = Arrival(sent["tokenId"], told=sent["tokenId"] in told)
            arrived.setdefault(self._key_of(sent["body"]), []).append(arrival)
        return arrived

    def _key_of(self, body: Mapping[str, Any]) -> Key:
        """The send that a call of the upstream was made for; by its text alone."""
        marker = str(body.get("messageText", "")).rpartition(" ")[2]
        request = self._requests.get(marker)
        part = part_of(body)
        if request is None or part not in request.parts:
            return (f"? {marker}", 0)
        return (self._ids[marker], request.parts.index(part) + 1)

    def _dead_letters(self) -> tuple[set[Key], dict[str, str]]:
        """The failed sends that have one, and the reasons of those that name no send."""
        letters: set[Key] = set()
        refused: dict[str, str] = {}
        found_none = 0
        while found_none < FOUND_NONE:
            messages = self._stack.clients.sqs.receive_message(
                QueueUrl=self._stack.dead_letter_queue_url,
                MessageAttributeNames=["All"],
                MaxNumberOfMessages=10,
                VisibilityTimeout=300,
            ).get("Messages", [])
            found_none = 0 if messages else found_none + 1
            for message in messages:
                attributes = message.get("MessageAttributes", {})
                values = {name: entry.get("StringValue", "") for name, entry in attributes.items()}
                send = json.loads(message["Body"]).get("send")
                if send:
                    letters.add((send["id"], send["n"]))
                else:
                    refused[values.get("messageId", "?")] = values.get("reason", "?")
        return letters, refused

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
                # From the last one's millisecond on: lines may come twice, none is left out.
                start = max(start + 1, events[-1]["timestamp"])


def _item(entry: Mapping[str, Any]) -> Item:
    return Item(
        key=(entry["pk"]["S"].removeprefix("MSG#"), int(entry["sk"]["S"].removeprefix("SEND#"))),
        stored=Stored(
            status=entry["status"]["S"],
            token_id=entry["tokenId"]["S"] if "tokenId" in entry else None,
            attempts=int(entry["attempts"]["N"]),
        ),
        due_at=float(entry["dueAt"]["N"]),
        raw_due_at=entry["dueAt"]["N"],
    )
