"""The upstream: one call of MobileConnect, with the token from Secrets Manager."""

import os
from itertools import batched
from typing import Any

import httpx
from aws_lambda_powertools import Tracer
from aws_lambda_powertools.utilities import parameters

from typical_relay.models import Message, Subscriber

RECIPIENTS_PER_CALL = 250
TOKEN_SECONDS = 300

tracer = Tracer()
http = httpx.Client(timeout=20)


class RefusedError(Exception):
    """MobileConnect refuses the message, and would again."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


class UnavailableError(Exception):
    """MobileConnect did not accept the message this time."""


def bodies(message: Message) -> list[tuple[dict[str, Any], int]]:
    """The bodies of the calls that a message needs, and for how many recipients each is."""
    common = message.to_upstream()
    distinct = {
        recipient if isinstance(recipient, str) else recipient.mobile: recipient
        for recipient in message.to
    }
    numbers = [number for number, recipient in distinct.items() if isinstance(recipient, str)]
    subscribers = [
        recipient.to_upstream()
        for recipient in distinct.values()
        if isinstance(recipient, Subscriber)
    ]
    return [
        *(
            ({"mobileNumbers": chunk, **common}, len(chunk))
            for chunk in batched(numbers, RECIPIENTS_PER_CALL, strict=False)
        ),
        *(
            ({"Subscribers": chunk, **common}, len(chunk))
            for chunk in batched(subscribers, RECIPIENTS_PER_CALL, strict=False)
        ),
    ]


@tracer.capture_method(capture_response=False)
def call(message_id: str, body: dict[str, Any]) -> str:
    """Send, and return the tokenId."""
    token = parameters.get_secret(
        os.environ["TOKEN_SECRET_ARN"], max_age=TOKEN_SECONDS, transform="json"
    )
    try:
        response = http.post(
            f"{token['rest_instance_url']}/sms/v1/messageContact/{message_id}/send",
            json=body,
            headers={"Authorization": f"Bearer {token['access_token']}"},
        )
    except httpx.HTTPError as error:
        raise UnavailableError(type(error).__name__) from error
    if response.status_code == httpx.codes.BAD_REQUEST:
        raise RefusedError(response.json()["errors"])
    if response.status_code != httpx.codes.ACCEPTED:
        raise UnavailableError(f"status {response.status_code}")
    return str(response.json()["tokenId"])
