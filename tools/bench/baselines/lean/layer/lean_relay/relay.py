"""Claim, send, store."""

import hashlib
import os
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any

import httpx
from aws_lambda_powertools.logging import Logger
from pydantic_core import from_json, to_json

from lean_relay.aws import Aws, AwsError
from lean_relay.models import Message, bodies_of

TABLE = os.environ["TABLE_NAME"]
RETENTION_SECONDS = 90 * 86_400
MARGIN_SECONDS = 60.0
NOT_PROCESSED = {401, 429, 503}

Item = dict[str, dict[str, str]]

logger = Logger()
# One client, and so one TLS context, for AWS and for the upstream.
http = httpx.Client(
    trust_env=False,
    timeout=20,
    limits=httpx.Limits(max_keepalive_connections=50, keepalive_expiry=60),
)
aws = Aws(http)


class ConflictError(Exception):
    """The key was used before."""


class NotSentError(Exception):
    """The upstream did not process a call; the claim is given back."""


@dataclass
class Send:
    """One call of the upstream."""

    n: int
    recipients: int
    body: bytes
    status: str = "sending"
    token_id: str | None = None

    def shown(self) -> dict[str, Any]:
        shown = {"n": self.n, "status": self.status, "recipients": self.recipients}
        return shown | ({"tokenId": self.token_id} if self.token_id else {})


class Token:
    """The access token, read again shortly before it expires."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: dict[str, Any] = {"expires_at": 0}

    def current(self) -> dict[str, Any]:
        with self._lock:
            if self._value["expires_at"] - MARGIN_SECONDS < time.time():
                secret = {"SecretId": os.environ["TOKEN_SECRET_ARN"]}
                answer = aws.call("secretsmanager", "GetSecretValue", secret)
                self._value = from_json(answer["SecretString"])
            return self._value


token = Token()


def relay(message: Message, client: str, key: str) -> tuple[str, list[Send]]:
    """The id and the sends of a message.

    Raises:
        ConflictError: it was sent before.
        NotSentError: it can be tried again.
    """
    message_id = hashlib.sha256(f"{client}:{message.idempotency_key or key}".encode()).hexdigest()
    message_id = message_id[:26]
    sends = [
        Send(n, recipients, to_json(body))
        for n, (body, recipients) in enumerate(bodies_of(message), 1)
    ]
    claim = Claim(message, message_id, client)
    claim.take(sends)
    for send in sends:
        send.status, send.token_id = _call(message.message, send, claim)
        claim.settle(send)
    logger.info("sent", message_id=message_id, sends=len(sends))
    return message_id, sends


def _call(template: str, send: Send, claim: "Claim") -> tuple[str, str | None]:
    credentials = token.current()
    try:
        response = http.post(
            f"{credentials['rest_instance_url']}/sms/v1/messageContact/{template}/send",
            content=send.body,
            headers={
                "Authorization": f"Bearer {credentials['access_token']}",
                "Content-Type": "application/json",
            },
        )
    except httpx.ConnectError as error:
        claim.give_back(send)
        raise NotSentError from error
    except httpx.HTTPError:
        return "unknown", None
    if response.status_code == httpx.codes.ACCEPTED:
        return "accepted", from_json(response.content)["tokenId"]
    if response.status_code in NOT_PROCESSED:
        claim.give_back(send)
        raise NotSentError(response.status_code)
    return "rejected" if response.is_client_error else "unknown", None


class Claim:
    """The items of one message: written before its calls, and again after each."""

    def __init__(self, message: Message, message_id: str, client: str) -> None:
        now = time.time()
        self._common: Item = {
            "pk": {"S": f"MSG#{message_id}"},
            "client": {"S": client},
            "template": {"S": message.message},
            "owner": {"S": str(uuid.uuid4())},
            "onUnknown": {"S": message.on_unknown},
            "createdAt": {"N": f"{now:.3f}"},
            "expiresAt": {"N": str(int(now) + RETENTION_SECONDS)},
        }
        if message.reference:
            self._common["reference"] = {"S": message.reference}

    def take(self, sends: list[Send]) -> None:
        puts = [
            {
                "TableName": TABLE,
                "Item": self._item(send) | {"body": {"S": send.body.decode()}},
                "ConditionExpression": "attribute_not_exists(pk)",
            }
            for send in sends
        ]
        try:
            if len(puts) == 1:
                aws.call("dynamodb", "PutItem", puts[0])
            else:
                transaction = {"TransactItems": [{"Put": put} for put in puts]}
                aws.call("dynamodb", "TransactWriteItems", transaction)
        except AwsError as error:
            if error.code in {"ConditionalCheckFailedException", "TransactionCanceledException"}:
                raise ConflictError from error
            raise

    def settle(self, send: Send) -> None:
        item = self._item(send)
        if send.token_id:
            item["tokenId"] = {"S": send.token_id}
        self._write("PutItem", {"Item": item})

    def give_back(self, send: Send) -> None:
        self._write("DeleteItem", {"Key": {name: self._item(send)[name] for name in ("pk", "sk")}})

    def _write(self, operation: str, request: dict[str, Any]) -> None:
        condition = {
            "TableName": TABLE,
            "ConditionExpression": "#owner = :owner",
            "ExpressionAttributeNames": {"#owner": "owner"},
            "ExpressionAttributeValues": {":owner": self._common["owner"]},
        }
        aws.call("dynamodb", operation, condition | request)

    def _item(self, send: Send) -> Item:
        return self._common | {
            "sk": {"S": f"SEND#{send.n:03d}"},
            "status": {"S": send.status},
            "recipients": {"N": str(send.recipients)},
            "updatedAt": {"N": f"{time.time():.3f}"},
        }
