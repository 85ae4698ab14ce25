"""Every problem document: its schema, and an example from the relay or the gateway."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from samtranslator.yaml_helper import yaml_parse

from smsrelay import errors
from smsrelay.messages import strict_json
from smsrelay.messages.refusals import MAX_REFUSALS, RequestRefusedError
from smsrelay.messages.strict_json import MAX_REQUEST_BYTES
from smsrelay.sends.send import Status
from smsrelay.services import problem_documents
from tools.openapi import ROOT, Json
from tools.openapi.error_codes import example, refusals
from tools.openapi.request_schema import REF
from tools.openapi.response_schemas import MESSAGE_ID, of_message, send

TYPE = "application/problem+json"

_ID: Json = {
    "type": "string",
    "description": "The id of the message; `GET /messages/{id}` returns its status.",
    "examples": [MESSAGE_ID],
}
_SENDS: Json = {"type": "array", "items": {"$ref": REF.format(model="SendSummary")}}
_REFUSALS: Json = {
    "type": "array",
    "minItems": 1,
    "maxItems": MAX_REFUSALS,
    "items": {"$ref": REF.format(model="Refusal")},
    "description": "All errors of the request.",
}
_WORDS: Json = {
    "type": "array",
    "items": {"type": "string"},
    "description": "The error messages of Marketing Cloud.",
    "examples": [["Keyword PLAY is invalid for the code on the message"]],
}
_OMITTED: Json = {
    "type": "integer",
    "minimum": 1,
    "description": "The number of further errors; left out if `errors` has all of them.",
    "examples": [12],
}


class Problem(NamedTuple):
    """A problem: when it occurs, an example, and its additional members."""

    when: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = {}
    members: Mapping[str, Json] = {}
    optional: Mapping[str, Json] = {}

    @property
    def code(self) -> str:
        return str(self.body["code"])

    @property
    def status(self) -> int:
        return int(self.body["status"])

    @property
    def component(self) -> str:
        """The name of its schema, such as `NotJsonProblem`."""
        return "".join(word.capitalize() for word in self.code.split("-")) + "Problem"

    def schema(self) -> Json:
        """Return the schema of a problem document (RFC 9457) with its constant members."""
        constants = {name: {"const": self.body[name]} for name in ("type", "title", "status")}
        properties: Json = {
            **constants,
            "code": {"const": self.code, "description": "Stable, and for programs."},
            "detail": {
                "type": "string",
                "description": "For people. It never contains a phone number or a text.",
                "examples": [self.body["detail"]],
            },
            **self.members,
            **self.optional,
        }
        required = [name for name in properties if name not in self.optional]
        return {
            "type": "object",
            "description": self.when,
            "required": required,
            "properties": properties,
        }


def _of_error(when: str, error: errors.RelayError, **more: Mapping[str, Json]) -> Problem:
    answer = problem_documents.of_error(error)
    return Problem(when, answer.body, answer.headers, **more)


def _of_send(when: str, status: Status, reason: str, *words: str, **members: Json) -> Problem:
    answer = of_message(send(status=status, reason=reason, errors=words))
    return Problem(when, answer.body, answer.headers, {"id": _ID, "sends": _SENDS, **members})


_KEY_REFUSED = example("invalid-idempotency-key")["detail"]


def _not_json() -> errors.RelayError:
    try:
        strict_json.decode('{"message": ')
    except errors.NotJsonError as error:
        return error
    raise AssertionError


_INVALID = RequestRefusedError(
    refusals('{"message": "MzA6Nzg6MA", "to": ["(310) 555-0100"], "subscribe": true, "txt": 1}')
)


def _relays() -> Iterator[Problem]:
    """Yield the problems of the relay itself."""
    yield _of_error("The body is not JSON. Nothing was sent.", _not_json())
    yield _of_error(
        "A header is not valid. Nothing was sent.",
        errors.InvalidHeaderError(f"Idempotency-Key: {_KEY_REFUSED}"),
    )
    yield _of_error(
        "Under `/iam`, and for webhooks: the client has posted too many recipients in this minute. "
        "Nothing was sent.",
        errors.RateLimitedError(17),
    )
    yield _of_error(
        "The API key, or the IAM principal under `/iam`, does not belong to a registered client. "
        "Nothing was sent.",
        errors.ClientNotRegisteredError(),
    )
    yield _of_error(
        "The client does not exist, or the request has no valid signature of it from the last five "
        "minutes. Nothing was sent.",
        errors.InvalidSignatureError(),
    )
    yield _of_error(
        "The message, tokenId or route does not exist, or belongs to another client.",
        errors.NotFoundError(),
    )
    yield _of_error(
        "The first request with this Idempotency-Key is still running. Repeat it a little later.",
        errors.RequestInProgressError(MESSAGE_ID),
        members={"id": _ID},
    )
    yield _of_error(
        "No send of the message is queued now, so none can be cancelled.",
        errors.TooLateError(MESSAGE_ID),
        members={"id": _ID},
    )
    yield _of_send(
        "The message of this Idempotency-Key was cancelled. Nothing was sent.",
        Status.CANCELLED,
        "cancelled",
    )
    yield _of_error(
        "The body is larger than 1 MiB, or its calls of the upstream are too large for the ledger. "
        "Nothing was sent.",
        errors.TooLargeError(MAX_REQUEST_BYTES),
        optional={"errors": _REFUSALS},
    )
    yield _of_error(
        "The body is not `application/json`, not in UTF-8, or compressed. Nothing was sent.",
        errors.UnsupportedMediaTypeError("Send the header Content-Type: application/json."),
    )
    yield _of_error(
        "Fields are not valid. Nothing was sent, and the Idempotency-Key can be used again.",
        _INVALID,
        members={"errors": _REFUSALS},
        optional={"errorsOmitted": _OMITTED},
    )
    yield _of_error(
        "The parameters of the search are not valid.",
        errors.InvalidQueryError("reference: It must not be blank."),
    )
    yield _of_error(
        "The Idempotency-Key belongs to a request with another body. Nothing was sent.",
        errors.IdempotencyKeyReusedError(MESSAGE_ID),
        members={"id": _ID},
    )
    yield _of_send(
        "Marketing Cloud rejected the message permanently. Nothing was sent.",
        Status.REJECTED,
        "refused",
        "Keyword PLAY is invalid for the code on the message",
        errors=_WORDS,
    )
    yield _of_error(
        "The relay failed. A repeated request with the same Idempotency-Key never sends twice.",
        errors.RelayError(),
    )
    yield _of_send(
        "The message was not sent before it was too old or expired.", Status.FAILED, "too-old"
    )
    yield _of_error(
        "The message could not be stored, so it was not sent. Repeat the request with the same "
        "Idempotency-Key.",
        errors.LedgerUnavailableError(),
    )
    not_read = problem_documents.not_read()
    yield Problem(
        "The message could not be read. Repeat the request.", not_read.body, not_read.headers
    )
    yield _of_send(
        "It is not known whether it went out. It is not sent again automatically; repeating the "
        "request with the same Idempotency-Key never sends twice.",
        Status.UNKNOWN,
        "read-timeout",
    )


_WHEN = {
    "api-key-required": "The header `x-api-key` has no valid API key.",
    "not-allowed": "The caller's address is not allowed, or its signature under `/iam`. "
    "Nothing was sent.",
    "throttled": "There are too many requests per second. Nothing was sent.",
    "quota-exceeded": "The daily quota of the API key is used up. Nothing was sent.",
    "no-answer": "The relay did not respond within 29 seconds. A repeated request with the same "
    "Idempotency-Key never sends twice.",
}


def _gateways() -> Iterator[Problem]:
    """Yield the problems of API Gateway itself, as in template.yaml."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    for response in template["Resources"]["Api"]["Properties"]["GatewayResponses"].values():
        body = json.loads(response["ResponseTemplates"]["application/json"])
        headers = dict(response["ResponseParameters"]["Headers"])
        del headers["Content-Type"]
        yield Problem(
            _WHEN.get(body["code"], body["detail"]),
            body,
            {name: value.strip("'") for name, value in headers.items()},
        )


def all_problems() -> Mapping[str, Problem]:
    """Return all problems by code, ordered by status. The relay's replace the gateway's."""
    found = {problem.code: problem for problem in _relays()}
    for problem in _gateways():
        found.setdefault(problem.code, problem)
    return dict(sorted(found.items(), key=lambda entry: entry[1].status))
