"""The samples under events/ and the expected result of each.

This implements the relay's rules a second time, without the package `smsrelay`: code that checks
itself would not find its own errors.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tools.local_stack import ROOT

MESSAGES = ROOT / "events" / "messages"
ENVELOPES = ROOT / "events" / "envelopes"
REFUSED_PREFIX = "refused-"
RECIPIENTS_PER_CALL = 250


class Way(StrEnum):
    """A way into the relay."""

    API = "API"
    QUEUE = "SQS"


@dataclass(frozen=True)
class Recipient:
    """A number as digits, and the subscriber key if there is one."""

    mobile: str
    key: str | None = None


@dataclass(frozen=True)
class Content:
    """The content that reaches the phones."""

    upstream_message_id: str
    recipients: frozenset[Recipient]
    text: str | None
    keyword: str | None
    media: str | None


@dataclass(frozen=True)
class Sample:
    """A request to post."""

    name: str
    way: Way
    body: str
    key: str
    """Its idempotency key."""
    key_in_body: bool
    """Whether the body contains the key, as in envelopes."""
    content: Content | None
    """The content that must reach the phones; None if the sample must be refused."""

    @property
    def may_wait(self) -> bool:
        """Whether the upstream may delay it until the end of quiet hours."""
        return "quietHours" in self.body

    @property
    def calls(self) -> int:
        """The number of upstream calls that it needs."""
        if self.content is None:
            return 0
        subscribers = sum(recipient.key is not None for recipient in self.content.recipients)
        numbers = len(self.content.recipients) - subscribers
        return sum(-(-count // RECIPIENTS_PER_CALL) for count in (numbers, subscribers))


def samples() -> list[Sample]:
    """Return all samples: each message for HTTP and the queue, envelopes for the queue."""
    messages = sorted(MESSAGES.glob("*.json"))
    return [
        *(_message(path, way) for way in Way for path in messages),
        *(_envelope(path) for path in sorted(ENVELOPES.glob("*.json"))),
    ]


def content_of_call(upstream_message_id: str, body: Mapping[str, Any]) -> Content:
    """Return the content that a call of the upstream sends to the phones."""
    return Content(
        upstream_message_id=upstream_message_id,
        recipients=frozenset(
            [Recipient(number) for number in body.get("mobileNumbers", [])]
            + [
                Recipient(subscriber["MobileNumber"], subscriber["SubscriberKey"])
                for subscriber in body.get("Subscribers", [])
            ]
        ),
        text=body.get("messageText"),
        keyword=body.get("keyword"),
        media=body.get("ContentURL"),
    )


def _message(path: Path, way: Way) -> Sample:
    body = path.read_text()
    refused = path.stem.startswith(REFUSED_PREFIX)
    return Sample(
        name=path.stem,
        way=way,
        body=body,
        key=f"demo-{way.lower()}-{path.stem}",
        key_in_body=False,
        content=None if refused else _content(json.loads(body)),
    )


def _envelope(path: Path) -> Sample:
    body = path.read_text()
    envelope = json.loads(body)
    if "detail" in envelope:
        document, key = envelope["detail"], envelope["id"]
    else:
        document = json.loads(envelope["Message"])
        attribute = envelope.get("MessageAttributes", {}).get("Idempotency-Key", {})
        key = attribute.get("Value", envelope["MessageId"])
    return Sample(
        name=path.stem,
        way=Way.QUEUE,
        body=body,
        key=key,
        key_in_body=True,
        content=_content(document),
    )


def _content(document: Mapping[str, Any]) -> Content:
    return Content(
        upstream_message_id=document["message"],
        recipients=frozenset(_recipient(entry) for entry in document["to"]),
        text=document.get("text"),
        keyword=document.get("keyword"),
        media=document.get("mediaUrl"),
    )


def _recipient(entry: str | Mapping[str, Any]) -> Recipient:
    if isinstance(entry, str):
        return Recipient(_digits(entry))
    return Recipient(_digits(entry["mobile"]), entry["key"])


def _digits(number: str) -> str:
    return re.sub(r"\D", "", number)
