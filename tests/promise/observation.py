"""What can be seen of a relay from outside, on MiniStack and on the local stack."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

Json = Mapping[str, Any]

ACCEPTED_STATUSES = {"accepted", "delivered", "partially_delivered", "undelivered"}
LOST = "lost"
"""Replaces the status of a send that was deleted by mistake."""
FOUND_NONE = 2
"""Empty responses in a row after which a queue counts as read."""


@dataclass(frozen=True)
class StoredSend:
    """A send in the ledger."""

    message_id: str
    number: int
    client: str
    reference: str
    status: str
    attempts: int
    created_at: float
    updated_at: float
    due_at: float
    token_id: str | None = None
    reason: str | None = None
    body: str | None = None
    delete_at: float = 0.0
    """When DynamoDB's TTL may delete it; 0: never."""
    awaits_report: bool = False
    """Whether it is accepted, and the delivery poller polls it."""

    @property
    def name(self) -> str:
        return f"{self.message_id}/{self.number}"

    @property
    def is_accepted(self) -> bool:
        """Whether the upstream accepted it, whatever its delivery status is."""
        return self.status in ACCEPTED_STATUSES


NEWER_ITEM: Final[Mapping[str, Any]] = {
    "pk": {"S": "MSG#FR0MANEWERVERS10N000000000"},
    "sk": {"S": "SEND#001"},
    "status": {"S": "shelved"},
    "unfinished": {"S": "open#0"},
    "dueAt": {"N": "1"},
    "attempts": {"N": "1"},
}
"""A send with a status that this version does not know; first in the sweeper's order."""


class Content(NamedTuple):
    """The recipient and text, by which the tests recognise a send's calls."""

    recipient: str
    text: str


@dataclass(frozen=True)
class Arrival:
    """An SMS that the upstream accepted."""

    content: Content
    token_id: str


@dataclass(frozen=True)
class DeadLetter:
    body: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """Everything that can be seen when the relay is idle again."""

    sends: Sequence[StoredSend] = ()
    refused: frozenset[str] = frozenset()
    """The ids of messages that are recorded as refused."""
    is_newer_item_as_it_was: bool = False
    """Whether the item of a newer version exists unchanged."""
    waiting: int = 0
    """The number of messages in the queue."""
    dead_letters: Sequence[DeadLetter] = ()
    arrivals: Sequence[Arrival] = ()
    log: str = ""
    is_token_good: bool = True
    """Whether the upstream accepts the stored token."""


def observe(
    clients: Any,
    *,
    table: str,
    queue_url: str,
    dead_letter_queue_url: str,
    sent: Sequence[Any],
    log: str,
    is_token_good: bool = True,
) -> Observation:
    """Read the ledger and the queues; `sent` are the calls that the upstream accepted."""
    items = _items(clients.dynamodb, table)
    return Observation(
        sends=_sends(items),
        refused=frozenset(
            item["pk"]["S"].removeprefix("MSG#") for item in items if item["sk"]["S"] == "REFUSED"
        ),
        is_newer_item_as_it_was=NEWER_ITEM in items,
        waiting=count_waiting(clients.sqs, queue_url),
        dead_letters=_dead_letters(clients.sqs, dead_letter_queue_url),
        arrivals=[Arrival(content_of(entry["raw"]), entry["tokenId"]) for entry in sent],
        log=log,
        is_token_good=is_token_good,
    )


def stored_sends(dynamodb: Any, table: str) -> list[StoredSend]:
    """Return all sends in the ledger, sorted by id and number."""
    return _sends(_items(dynamodb, table))


def count_waiting(sqs: Any, queue_url: str, *, visible_only: bool = False) -> int:
    """Count the messages in a queue: visible, delayed and in flight."""
    names = ["ApproximateNumberOfMessages"]
    if not visible_only:
        names += [f"{names[0]}{state}" for state in ("Delayed", "NotVisible")]
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)


def content_of(body: str) -> Content:
    """Return the content of a call to the upstream; in these tests it has one recipient."""
    call = json.loads(body)
    numbers = [
        *call.get("mobileNumbers", ()),
        *(it["MobileNumber"] for it in call.get("Subscribers", ())),
    ]
    return Content(",".join(numbers), call.get("messageText", ""))


def _items(dynamodb: Any, table: str) -> list[Json]:
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    return [item for page in pages for item in page["Items"]]


def _sends(items: Sequence[Json]) -> list[StoredSend]:
    own = [it for it in items if it["sk"]["S"].startswith("SEND#") and not _is_newer(it)]
    sends = [_send(item) for item in own]
    return sorted(sends, key=lambda send: (send.message_id, send.number))


def _is_newer(item: Json) -> bool:
    return bool(item["pk"] == NEWER_ITEM["pk"])


def _send(item: Json) -> StoredSend:
    def text(name: str) -> str | None:
        return item[name]["S"] if name in item else None

    created, updated, due = (float(item[name]["N"]) for name in ("createdAt", "updatedAt", "dueAt"))
    return StoredSend(
        message_id=item["pk"]["S"].removeprefix("MSG#"),
        number=int(item["sk"]["S"].removeprefix("SEND#")),
        client=item["client"]["S"],
        reference=item["reference"]["S"],
        status=item["status"]["S"],
        attempts=int(item["attempts"]["N"]),
        created_at=created,
        updated_at=updated,
        due_at=due,
        token_id=text("tokenId"),
        reason=text("reason"),
        body=text("body"),
        delete_at=float(item["deleteAt"]["N"]) if "deleteAt" in item else 0.0,
        awaits_report=item["status"]["S"] in ACCEPTED_STATUSES and "unfinished" in item,
    )


def _dead_letters(sqs: Any, queue_url: str) -> list[DeadLetter]:
    """Return all dead letters, and make them visible again."""
    letters = dict[str, Any]()
    found_none = 0
    while found_none < FOUND_NONE:
        messages = sqs.receive_message(
            QueueUrl=queue_url,
            MessageAttributeNames=["All"],
            MaxNumberOfMessages=10,
            VisibilityTimeout=300,
        ).get("Messages", [])
        found_none = 0 if messages else found_none + 1
        letters |= {message["ReceiptHandle"]: message for message in messages}
    for handle in letters:
        sqs.change_message_visibility(QueueUrl=queue_url, ReceiptHandle=handle, VisibilityTimeout=0)
    return [
        DeadLetter(
            letter["Body"],
            {
                name: value["StringValue"]
                for name, value in letter.get("MessageAttributes", {}).items()
            },
        )
        for letter in letters.values()
    ]
