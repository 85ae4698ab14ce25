"""Posts samples, and observes the response, the ledger, the dead letters and the phones."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import httpx

from smsrelay.sends.ids import message_id
from tools.local_stack.samples import Content, Sample, Way, content_of_call
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import Stack

ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Stored:
    """A send in the ledger."""

    status: str
    token_id: str | None
    recipients: int
    delivered: int = 0
    """Recipients that the upstream has reported as reached."""


@dataclass(frozen=True)
class Evidence:
    """Everything observed about one request."""

    message_id: str
    http_status: int | None = None
    """HTTP status of the response; None for a queue message."""
    answered_tokens: tuple[str, ...] = ()
    """The tokenIds in the response, or for a queue message, in a later query of the API."""
    stored: tuple[Stored, ...] = ()
    refusals: tuple[str, ...] = ()
    """Why it was refused: pointer and code of each error."""
    refused_as: str | None = None
    """The reason on the dead letter."""
    arrived: tuple[Content, ...] = ()

    @property
    def stored_tokens(self) -> tuple[str, ...]:
        return tuple(send.token_id for send in self.stored if send.token_id is not None)


class Witness:
    """Posts samples to a stack, and observes the results."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._api = httpx.Client(
            base_url=stack.api_url,
            headers={"x-api-key": stack.api_key},
            trust_env=False,
            timeout=ANSWER_SECONDS,
        )
        self._control = SimulatorControl(stack.simulator_url)
        self._dead_letters: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._api.close()
        self._control.__exit__(*details)

    def post(self, sample: Sample) -> Evidence:
        """Post a sample by HTTP or to the queue."""
        if sample.way is Way.API:
            return self._post(sample)
        self._enqueue(sample)
        return Evidence(message_id=message_id(self._stack.default_client, sample.key))

    def settled(self, sample: Sample, evidence: Evidence) -> Evidence | None:
        """Return the evidence with the sends in the ledger, or None if they are not final yet."""
        if sample.way is Way.API and sample.content is None:
            return evidence
        if sample.content is None:
            return self._refused(evidence)
        stored = self._stored(evidence.message_id)
        if not stored or any(send.status in {"queued", "sending"} for send in stored):
            return None
        if sample.way is Way.QUEUE:
            answer = self._api.get(f"/messages/{evidence.message_id}")
            evidence = replace(evidence, answered_tokens=_tokens(_json(answer)))
        return replace(evidence, stored=stored)

    def ask_for_deliveries(self, messages: Sequence[str]) -> None:
        """Let the delivery poller poll these messages once.

        It makes their sends due first, instead of waiting for a minute.
        """
        followed = [
            (message, n)
            for message in messages
            for n, send in enumerate(self._stored(message), start=1)
            if send.status == "accepted"
        ]
        for message, n in followed:
            self._stack.clients.dynamodb.update_item(
                TableName=self._stack.table,
                Key={"pk": {"S": f"MSG#{message}"}, "sk": {"S": f"SEND#{n:03d}"}},
                UpdateExpression="SET dueAt = :now",
                ExpressionAttributeValues={":now": {"N": "0"}},
            )
        if followed:
            function = self._stack.functions["DeliveryPollerFunction"]
            self._stack.clients.lambda_.invoke(FunctionName=function, Payload="{}")

    def with_deliveries(self, evidence: Evidence) -> Evidence:
        """Return the evidence with the deliveries in the ledger."""
        return replace(evidence, stored=self._stored(evidence.message_id))

    def arrivals(self) -> dict[str, Content]:
        """Return the messages that the upstream has accepted, by tokenId."""
        return {
            entry["tokenId"]: content_of_call(entry["id"], entry["body"])
            for entry in self._control.sent()
        }

    def _post(self, sample: Sample) -> Evidence:
        answer = self._api.post(
            "/messages",
            content=sample.body,
            headers={"Content-Type": "application/json", "Idempotency-Key": sample.key},
        )
        body = _json(answer)
        return Evidence(
            message_id=str(body.get("id", "")),
            http_status=answer.status_code,
            answered_tokens=_tokens(body),
            refusals=_refusals(body),
        )

    def _enqueue(self, sample: Sample) -> None:
        attributes = {"client": self._stack.default_client}
        if not sample.key_in_body:
            attributes["Idempotency-Key"] = sample.key
        self._stack.clients.sqs.send_message(
            QueueUrl=self._stack.queue_url,
            MessageBody=sample.body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            },
        )

    def _stored(self, message: str) -> tuple[Stored, ...]:
        answer = self._stack.clients.dynamodb.query(
            TableName=self._stack.table,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :send)",
            ExpressionAttributeValues={":pk": {"S": f"MSG#{message}"}, ":send": {"S": "SEND#"}},
            ConsistentRead=True,
        )
        return tuple(
            Stored(
                status=item["status"]["S"],
                token_id=item["tokenId"]["S"] if "tokenId" in item else None,
                recipients=int(item["recipients"]["N"]),
                delivered=json.loads(item["delivery"]["S"])["delivered"]
                if "delivery" in item
                else 0,
            )
            for item in answer["Items"]
        )

    def _refused(self, evidence: Evidence) -> Evidence | None:
        """Return the errors of a refused queue message, or None if it is not a dead letter yet."""
        self._read_dead_letters()
        reason = self._dead_letters.get(evidence.message_id)
        if reason is None:
            return None
        recorded = _json(self._api.get(f"/messages/{evidence.message_id}"))
        return replace(evidence, refused_as=reason, refusals=_refusals(recorded))

    def _read_dead_letters(self) -> None:
        answer = self._stack.clients.sqs.receive_message(
            QueueUrl=self._stack.dead_letter_queue_url,
            MessageAttributeNames=["All"],
            MaxNumberOfMessages=10,
        )
        for message in answer.get("Messages", []):
            attributes = message.get("MessageAttributes", {})
            values = {name: entry.get("StringValue", "") for name, entry in attributes.items()}
            self._dead_letters[values.get("messageId", "")] = values.get("reason", "")


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except json.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _tokens(body: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(send["tokenId"] for send in body.get("sends", []) if "tokenId" in send)


def _refusals(body: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{error['pointer']} {error['code']}" for error in body.get("errors", []))
