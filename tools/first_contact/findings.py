"""The findings of first contact: the responses of Marketing Cloud, and their shapes."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from smsrelay.messages.strict_json import json_object
from smsrelay.security.redaction import without
from smsrelay.sends.call_outcome import error_messages_of
from smsrelay.sends.send import Send

ENDED: Final = {"Finished", "Error"}
"""The final statuses of a delivery."""
_MEMBER = re.compile(r"[A-Za-z_]{1,40}")
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z.+-]{1,40}")
_MAX_ERROR_CODE: Final = 99_999


class Answer(NamedTuple):
    """A response of Marketing Cloud."""

    status: int
    content_type: str
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object in the body; empty if the body is not a JSON object."""
        return json_object(self.body.decode("utf-8-sig", "replace"))

    @property
    def errors(self) -> Sequence[str]:
        """The reasons, if the response has the shape of the SMS API's refusals."""
        errors = self.document.get("errors")
        return [it for it in errors if isinstance(it, str)] if isinstance(errors, list) else []

    @property
    def is_refusal(self) -> bool:
        """Whether the response is a 400 with at least one reason."""
        return self.status == HTTPStatus.BAD_REQUEST and bool(self.errors)

    def without_values(self, secrets: Iterable[str]) -> dict[str, Any]:
        """Return status and shape, and for an error its code and words, without secrets."""
        code = self.document.get("errorcode")
        media_type = self.content_type.partition(";")[0].strip().lower()
        found: dict[str, Any] = {
            "status": self.status,
            "contentType": media_type if _MEDIA_TYPE.fullmatch(media_type) else "…",
            "body": shape(self.document) if self.document else "not a JSON object",
        }
        if self.status >= HTTPStatus.BAD_REQUEST:
            found["errors"] = without(error_messages_of(self.body), secrets)
            if type(code) is int and 0 <= code <= _MAX_ERROR_CODE:
                found["errorCode"] = code
        return found


def shape(value: object) -> object:
    """Replace each value by its JSON type; members of an array with the same shape appear once."""
    if isinstance(value, dict):
        return {
            name if _MEMBER.fullmatch(name) else "…": shape(inner) for name, inner in value.items()
        }
    if isinstance(value, list):
        shapes = [shape(inner) for inner in value]
        return [it for n, it in enumerate(shapes) if it not in shapes[:n]]
    types = {bool: "boolean", str: "string", type(None): "null"}
    return types.get(type(value), "number")


@dataclass
class Findings:
    """Everything that was found out."""

    doctor: dict[str, str] = field(default_factory=dict)
    send: Send | None = None
    """The send of the SMS in the ledger."""
    statuses: set[str] = field(default_factory=set)
    """All statuses of its delivery that polls returned."""
    phone: str = ""
    """The person's answer: 1 the text, 2 another text, 3 nothing."""
    message_id: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    """The last response to each call, by the name of the call."""
    secrets: set[str] = field(default_factory=set)
    """Values that the report must not contain."""

    @property
    def delivery_report(self) -> dict[str, Any]:
        """The last delivery report; empty if there is none."""
        return self.answers["poll"].document if "poll" in self.answers else {}
