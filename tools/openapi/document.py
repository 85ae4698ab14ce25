"""The OpenAPI document."""

import json
from collections.abc import Iterable, Mapping
from itertools import groupby

from smsrelay import __version__
from smsrelay.messages import client_names
from smsrelay.messages.request import (
    MAX_RECIPIENTS,
    MAX_REFERENCE,
    MAX_SENDS,
    MessageRequest,
    validate_reference,
)
from smsrelay.services.http_response import Response
from tools.openapi import ROOT, Json, problem_examples, request_schema, response_schemas
from tools.openapi.error_codes import CODES, example
from tools.openapi.problem_examples import Problem
from tools.openapi.request_schema import REF

SAMPLES = ROOT / "events/messages"
LARGEST_SAMPLE = 2_000
"""Bytes. Larger samples, such as one with 500 numbers, are left out."""

PROBLEMS = problem_examples.all_problems()

_EVERYWHERE = ("not-allowed", "throttled", "server-error", "no-answer")
_WITH_KEY = ("api-key-required", "client-not-registered", "quota-exceeded")
_POSTING = (
    "not-json",
    "invalid-header",
    "still-running",
    "too-large",
    "wrong-content-type",
    "invalid-request",
    "over-limit",
    "idempotency-key-reused",
    "message-cancelled",
    "upstream-refused",
    "not-sent",
    "not-stored",
    "delivery-unknown",
)
_PREVIEWING = (
    "not-json",
    "invalid-header",
    "too-large",
    "wrong-content-type",
    "invalid-request",
    "not-read",
)
_ASKING = ("not-found", "not-read")
_SIGNED = ("not-signed", "not-found")

_INTRODUCTION = """\
Post one small JSON document, and each recipient gets the SMS once through Salesforce Marketing \
Cloud MobileConnect. If an SMS is not sent, the response, the message's status or an alarm says so.

With an `Idempotency-Key`, you can safely repeat a request: for the same key and body, the relay \
responds again, but does not send again, even if the rules, the catalogue or the client's \
permissions have changed since. Bodies are compared as JSON: member order and white space don't \
matter, but two formats of the same phone number are different. After any error, or without a \
response, repeat the request with the same key.

A deployment can also accept messages without an API key: the same routes under `/iam` accept \
requests signed by IAM principals (AWS Signature Version 4, with a limit for each client: 429 \
`over-limit`), and `POST /webhooks/{client}` accepts webhooks. Otherwise the response is 404.

Problems follow RFC 9457. Their `code` is stable and for programs; `detail` is for people, \
and never contains a phone number or a text. New members and codes may be added: ignore unknown \
ones.

Until version 1.0, new statuses may be added, too: clients must accept a `status` that isn't \
listed here.

Paths are relative to the API's base URL, which ends with its stage, or with the base path of a \
custom domain."""

_HEADERS: Mapping[str, Json] = {
    "Location": {
        "description": "The absolute path of the message, with the stage or the base path of the "
        "URL that was called. Under `/iam` it is the route under `/iam`; after a webhook, "
        "the route for the client's API key.",
        "schema": {"type": "string", "examples": [f"/prod/messages/{response_schemas.MESSAGE_ID}"]},
    },
    "Idempotent-Replayed": {
        "description": "`true` if an earlier request had the key: this one sent nothing.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Preference-Applied": {
        "description": "Present if the request had `Prefer: respond-async`.",
        "schema": {"type": "string", "enum": ["respond-async"]},
    },
    "Retry-After": {
        "description": "Repeat the request after so many seconds.",
        "schema": {"type": "string", "pattern": "^[0-9]+$", "examples": ["5"]},
    },
    "Link": {
        "description": "The message, as the relation `item`: a path as in `Location`.",
        "schema": {
            "type": "string",
            "examples": [f'</prod/messages/{response_schemas.MESSAGE_ID}>; rel="item"'],
        },
    },
    "Cache-Control": {"schema": {"type": "string", "examples": ["public, max-age=300"]}},
}
_OF_POSTED = ("Idempotent-Replayed", "Preference-Applied")

_ID_PARAMETER: Json = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The id of a message of the same client (API key).",
    "schema": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"},
    "example": response_schemas.MESSAGE_ID,
}
_TOKEN_PARAMETER: Json = {
    "name": "tokenId",
    "in": "path",
    "required": True,
    "description": "A tokenId of MobileConnect, percent-encoded where it needs to be.",
    "schema": {"type": "string", "minLength": 1},
    "example": response_schemas.TOKEN_ID,
}
_KEY_PARAMETER: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": MessageRequest.model_fields["idempotency_key"].description,
    "schema": {"type": "string", "pattern": request_schema.KEY_PATTERN},
    "example": "order-8812-shipped",
}
_SEARCH_PARAMETERS: list[Json] = [
    {
        "name": "idempotencyKey",
        "in": "query",
        "description": "The message with this idempotency key. If a message had no key, this is "
        "the id of "
        "the webhook, or of the message in SQS, SNS (`MessageId`) or EventBridge (`id`).",
        "schema": {"type": "string", "pattern": request_schema.KEY_PATTERN},
        "example": "order-8812-shipped",
    },
    {
        "name": "reference",
        "in": "query",
        "description": "Messages with this reference.",
        "schema": {
            "type": "string",
            "maxLength": MAX_REFERENCE,
            "pattern": request_schema.PATTERNS[validate_reference],
        },
        "example": "order-8812",
    },
    {
        "name": "next",
        "in": "query",
        "description": "The next page of a `reference`: the unchanged `next` of the previous page.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,12}([.][0-9]{1,3})?-[0-9A-Z]{26}$"},
        "example": response_schemas.CURSOR,
    },
]
_PREFER_PARAMETER: Json = {
    "name": "Prefer",
    "in": "header",
    "description": "`respond-async` (RFC 7240): store and queue the message, and respond at once. "
    "All other values are ignored.",
    "schema": {"type": "string"},
    "example": "respond-async",
}
_WEBHOOK_PARAMETERS: list[Json] = [
    {
        "name": "client",
        "in": "path",
        "required": True,
        "description": "The sender: the client whose secret signs the webhook.",
        "schema": {"type": "string", "pattern": request_schema.whole(client_names.PATTERN)},
        "example": "shop",
    },
    {
        "name": "webhook-id",
        "in": "header",
        "required": True,
        "description": "The webhook's id, which is the idempotency key, also of a repetition.",
        "schema": {"type": "string", "pattern": r"^[!-\-/-~]{1,255}$"},
        "example": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
    },
    {
        "name": "webhook-timestamp",
        "in": "header",
        "required": True,
        "description": "The time of sending in seconds since the epoch, within five minutes.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,12}$"},
        "example": "1800000000",
    },
]


def document() -> Json:
    """Return the OpenAPI 3.1 document of the HTTP API."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "smsrelay",
            "version": __version__,
            "summary": "Send SMS through Marketing Cloud MobileConnect by posting one small JSON.",
            "description": _INTRODUCTION,
            "contact": {"name": "The operator of this relay"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": ".", "description": "The server of this document"}],
        "security": [{"apiKey": []}],
        "tags": [
            {"name": "messages", "description": "Send messages, and query their status."},
            {"name": "documentation", "description": "This document. It needs no API key."},
        ],
        "paths": {
            "/messages": {"post": _post_message(), "get": _find_messages()},
            "/messages/preview": {"post": _preview_message()},
            "/messages/{id}": {"get": _get_message(), "delete": _cancel_message()},
            "/tokens/{tokenId}": {"get": _get_token()},
            "/webhooks/{client}": {"post": _post_webhook()},
            "/openapi.json": {
                "get": _documentation(
                    "getDocument",
                    "This document",
                    "This API as an OpenAPI 3.1 document.",
                    "application/json",
                    {"type": "object"},
                )
            },
            "/docs": {
                "get": _documentation(
                    "getDocs",
                    "This document as a page",
                    "The same content as an HTML page, with examples to copy.",
                    "text/html",
                    {"type": "string"},
                )
            },
        },
        "components": {
            "securitySchemes": {
                "apiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-api-key",
                    "description": "The key identifies the client. A client sees only its own "
                    "messages. "
                    "A key without a registered client is refused.",
                },
                "webhookSignature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "webhook-signature",
                    "description": "`v1,` and the Base64-encoded HMAC-SHA256 of webhook-id, "
                    "webhook-timestamp and the body, separated by dots. Several signatures are "
                    "separated by spaces.",
                },
            },
            "schemas": _schemas(),
        },
        "x-refusal-codes": {
            code: {"meaning": entry.meaning} | ({"example": found} if found else {})
            for code, entry in CODES.items()
            for found in [example(code)]
        },
    }


def text() -> str:
    """Return the document's text, as it is committed and served."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def samples() -> Mapping[str, Json]:
    """Return the valid sample messages by name."""
    return {
        path.stem: json.loads(path.read_text())
        for path in sorted(SAMPLES.glob("*.json"))
        if not path.stem.startswith("refused-") and path.stat().st_size <= LARGEST_SAMPLE
    }


def _schemas() -> Json:
    every = request_schema.schemas() | response_schemas.schemas()
    every |= {problem.component: problem.schema() for problem in PROBLEMS.values()}
    return every


def _post_message() -> Json:
    return {
        "operationId": "postMessage",
        "tags": ["messages"],
        "summary": "Send a message",
        "description": "One request is one message: one or more sends, each of them one call of "
        f"MobileConnect. It has at most {MAX_RECIPIENTS} recipients, {MAX_SENDS} sends and 1 MiB. "
        "If MobileConnect certainly did not accept a send, the relay tries it again: the response "
        "is 202 with the status `queued`. Without an Idempotency-Key, every request is a "
        "new message.",
        "parameters": [_KEY_PARAMETER, _PREFER_PARAMETER],
        "requestBody": _body(),
        "responses": _posted((*_POSTING, *_WITH_KEY, *_EVERYWHERE)),
    }


def _preview_message() -> Json:
    return {
        "operationId": "previewMessage",
        "tags": ["messages"],
        "summary": "Preview a message",
        "description": "Checks a message as `POST /messages` does, and returns the calls of "
        "MobileConnect that it would become. It stores and sends nothing, and ignores "
        "the idempotency key.",
        "parameters": [],
        "requestBody": _body(),
        "responses": {
            "200": _success(
                "The calls that would be made.", "PreviewedMessage", response_schemas.PREVIEWED
            ),
            **_failures((*_PREVIEWING, *_WITH_KEY, *_EVERYWHERE)),
        },
    }


def _post_webhook() -> Json:
    return {
        "operationId": "postWebhook",
        "tags": ["messages"],
        "summary": "Send a message by webhook",
        "description": "For senders that sign requests as Standard Webhooks requires, with one "
        "secret for each client. The webhook's id is the idempotency key: for a repeated webhook, "
        "the relay responds again, but does not send again. The message is the whole body, or "
        "the `data` of a payload with `type`, `timestamp` and `data`; then pointers in `errors` "
        "are relative to `data`. A deployment accepts webhooks only if they are turned on.",
        "security": [{"webhookSignature": []}],
        "parameters": [*_WEBHOOK_PARAMETERS, _PREFER_PARAMETER],
        "requestBody": _body({"anyOf": [_MESSAGE, _PAYLOAD]}),
        "responses": _posted((*_POSTING, *_SIGNED, *_EVERYWHERE)),
    }


_MESSAGE: Json = {"$ref": REF.format(model="MessageRequest")}
_PAYLOAD: Json = {
    "type": "object",
    "required": ["type", "timestamp", "data"],
    "properties": {
        "type": {"description": "Not used.", "examples": ["order.shipped"]},
        "timestamp": {"description": "Not used.", "examples": ["2030-01-15T21:01:00Z"]},
        "data": _MESSAGE,
    },
}


def _body(schema: Json = _MESSAGE) -> Json:
    return {
        "required": True,
        "description": "Unknown fields, `null`, duplicate names in an object, NUL characters and "
        "unpaired surrogates are refused.",
        "content": {
            "application/json": {
                "schema": schema,
                "examples": {
                    name: {"summary": name.replace("-", " ").capitalize(), "value": value}
                    for name, value in samples().items()
                },
            }
        },
    }


def _posted(problems_of_it: Iterable[str]) -> Json:
    taken = _success(
        "The message was sent, or stored for sending.",
        "AcceptedMessage",
        response_schemas.POSTED,
        required=("Location",),
        optional=_OF_POSTED,
    )
    return {"202": taken | {"links": _LINKS}, **_failures(problems_of_it)}


_LINKS: Json = {
    "message": {
        "operationId": "getMessage",
        "parameters": {"id": "$response.body#/id"},
        "description": "The status of the message.",
    },
    "token": {
        "operationId": "getToken",
        "parameters": {"tokenId": "$response.body#/sends/0/tokenId"},
        "description": "The message of a tokenId.",
    },
}


def _get_message() -> Json:
    return {
        "operationId": "getMessage",
        "tags": ["messages"],
        "summary": "Get the status of a message",
        "description": "Messages are stored for 90 days, unless the operator has changed that.",
        "parameters": [_ID_PARAMETER],
        "responses": {
            "200": _success("The message.", "StoredMessage", response_schemas.STORED),
            **_failures((*_ASKING, *_WITH_KEY, *_EVERYWHERE)),
        },
    }


def _cancel_message() -> Json:
    return {
        "operationId": "cancelMessage",
        "tags": ["messages"],
        "summary": "Cancel a message",
        "description": "Cancels every send that is still `queued`. If an earlier attempt at a send "
        "may have gone out, it becomes `unknown` with the reason `cancelled`, and is not sent "
        "again. A repeated request gets the same response.",
        "parameters": [_ID_PARAMETER],
        "responses": {
            "200": _success(
                "At least one send was cancelled, now or before.",
                "StoredMessage",
                response_schemas.CANCELLED,
            ),
            **_failures(("too-late", *_ASKING, *_WITH_KEY, *_EVERYWHERE)),
        },
    }


def _find_messages() -> Json:
    return {
        "operationId": "findMessages",
        "tags": ["messages"],
        "summary": "Find messages by idempotency key or reference",
        "description": "Finds messages from HTTP, webhooks, SQS, SNS and "
        "EventBridge. Use exactly one of `idempotencyKey` and `reference`. A client finds only its "
        "own messages; a queue message without a client belongs to the default client. A "
        "message that was refused in the queue is found only by its key. A page has at most 20 "
        "messages, and fewer if they have many sends.",
        "parameters": _SEARCH_PARAMETERS,
        "responses": {
            "200": _success("The messages.", "FoundMessages", response_schemas.FOUND_MESSAGES),
            **_failures(("invalid-query", "not-read", *_WITH_KEY, *_EVERYWHERE)),
        },
    }


def _get_token() -> Json:
    return {
        "operationId": "getToken",
        "tags": ["messages"],
        "summary": "Find the message of a tokenId",
        "description": "Marketing Cloud returns a tokenId for each call, and uses it in reports. A "
        "client finds only its own messages.",
        "parameters": [_TOKEN_PARAMETER],
        "responses": {
            "200": _success(
                "The message and its send.",
                "TokenOwner",
                response_schemas.FOUND,
                required=("Link",),
            ),
            **_failures((*_ASKING, *_WITH_KEY, *_EVERYWHERE)),
        },
    }


def _documentation(
    operation: str, summary: str, description: str, media_type: str, schema: Json
) -> Json:
    return {
        "operationId": operation,
        "tags": ["documentation"],
        "summary": summary,
        "description": description,
        "security": [],
        "responses": {
            "200": {
                "description": summary + ".",
                "headers": {"Cache-Control": {"required": True} | _HEADERS["Cache-Control"]},
                "content": {media_type: {"schema": schema}},
            },
            **_failures(_EVERYWHERE),
        },
    }


def _success(
    description: str,
    model: str,
    examples: Mapping[str, Response],
    *,
    required: Iterable[str] = (),
    optional: Iterable[str] = (),
) -> Json:
    headers = {name: {"required": True} | _HEADERS[name] for name in required}
    headers |= {name: _HEADERS[name] for name in optional}
    return {
        "description": description,
        **({"headers": headers} if headers else {}),
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(model=model)},
                "examples": {
                    name: {"summary": name.replace("-", " ").capitalize(), "value": answer.body}
                    for name, answer in examples.items()
                },
            }
        },
    }


def _failures(codes: Iterable[str]) -> Json:
    """Return the responses with these problems, one for each status."""
    chosen = sorted((PROBLEMS[code] for code in codes), key=lambda problem: problem.status)
    return {
        str(status): _failure(list(same))
        for status, same in groupby(chosen, key=lambda problem: problem.status)
    }


def _failure(same: list[Problem]) -> Json:
    references = [{"$ref": REF.format(model=problem.component)} for problem in same]
    names = {name for problem in same for name in problem.headers}
    headers: Json = {
        name: ({"required": True} if all(name in problem.headers for problem in same) else {})
        | _HEADERS[name]
        for name in sorted(names)
    }
    if any("sends" in problem.members for problem in same):
        headers |= {name: _HEADERS[name] for name in _OF_POSTED}
    return {
        "description": " · ".join(f"`{problem.code}`" for problem in same),
        **({"headers": headers} if headers else {}),
        "content": {
            problem_examples.TYPE: {
                "schema": references[0] if len(same) == 1 else {"oneOf": references},
                "examples": {
                    problem.code: {"summary": problem.when, "value": dict(problem.body)}
                    for problem in same
                },
            }
        },
    }
