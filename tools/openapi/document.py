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
"""Bytes; a sample with 500 numbers explains nothing more."""

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
Cloud MobileConnect. If one does not, the response, the message's status or an alarm says so.

An `Idempotency-Key` makes every repetition safe: the same key with the same body is answered \
again and not sent again, even if the rules, the catalogue or the client's rights have changed \
since. The body is the JSON as posted: member order and spaces don't count, but two spellings of a \
number are two bodies. Whatever the answer is, and also if there is none, repeat the request \
with the same key.

A deployment can take messages from others than holders of an API key, too: the same routes \
below `/iam` for requests signed by IAM principals (AWS Signature Version 4; each has a limit of \
its own: 429 `over-limit`), and `POST /webhooks/{client}`. Where it does not, they are not found.

Problems follow RFC 9457. Their `code` is stable and made for programs; `detail` is for people, \
and never repeats a number or a text. New members and codes may be added: ignore what you don't \
know.

Paths are relative to the API's base URL, which ends with its stage, or with the base path of a \
custom domain."""

_HEADERS: Mapping[str, Json] = {
    "Location": {
        "description": "The message: an absolute path, with the stage or the base path of the "
        "URL that was called. Below `/iam` it leads to the route below `/iam`; after a webhook, to "
        "the route for the client's API key.",
        "schema": {"type": "string", "examples": [f"/prod/messages/{response_schemas.MESSAGE_ID}"]},
    },
    "Idempotent-Replayed": {
        "description": "`true` if the key was known: nothing was sent by this request.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Preference-Applied": {
        "description": "There if `Prefer: respond-async` was sent.",
        "schema": {"type": "string", "enum": ["respond-async"]},
    },
    "Retry-After": {
        "description": "Seconds after which to repeat the request.",
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
        "description": "The message with this idempotency key; where a message had none, the id of "
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
        "description": "The next page of a `reference`: `next` of the page before, unchanged.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,12}([.][0-9]{1,3})?-[0-9A-Z]{26}$"},
        "example": response_schemas.CURSOR,
    },
]
_PREFER_PARAMETER: Json = {
    "name": "Prefer",
    "in": "header",
    "description": "`respond-async` (RFC 7240): store it, queue it, and answer at once. "
    "Everything else is ignored.",
    "schema": {"type": "string"},
    "example": "respond-async",
}
_WEBHOOK_PARAMETERS: list[Json] = [
    {
        "name": "client",
        "in": "path",
        "required": True,
        "description": "Who sends it: the client whose secret it is signed with.",
        "schema": {"type": "string", "pattern": request_schema.whole(client_names.PATTERN)},
        "example": "shop",
    },
    {
        "name": "webhook-id",
        "in": "header",
        "required": True,
        "description": "The webhook's id, and so the idempotency key: the same in each copy.",
        "schema": {"type": "string", "pattern": r"^[!-\-/-~]{1,255}$"},
        "example": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
    },
    {
        "name": "webhook-timestamp",
        "in": "header",
        "required": True,
        "description": "When it was sent: seconds since the epoch, not five minutes away from now.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,12}$"},
        "example": "1800000000",
    },
]


def document() -> Json:
    """The OpenAPI 3.1 document of the HTTP API."""
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
        "servers": [{"url": ".", "description": "Where this document was read"}],
        "security": [{"apiKey": []}],
        "tags": [
            {"name": "messages", "description": "Send, and see what became of it."},
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
                    "What this API promises, as an OpenAPI 3.1 document.",
                    "application/json",
                    {"type": "object"},
                )
            },
            "/docs": {
                "get": _documentation(
                    "getDocs",
                    "This document, for people",
                    "The same as a page, with examples to copy.",
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
                    "description": "A client is known by its key, and sees only its own messages. "
                    "A key that belongs to no registered client is refused.",
                },
                "webhookSignature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "webhook-signature",
                    "description": "`v1,` and the HMAC-SHA256, in Base64, of webhook-id, "
                    "webhook-timestamp and the body, with dots in between; or several of them, "
                    "with spaces in between.",
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
    """The document as it is committed and served."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def samples() -> Mapping[str, Json]:
    """The good sample messages, by name."""
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
        "What MobileConnect did certainly not take is tried again by the relay: it is no error, "
        "the answer is 202 with the status `queued`. Without an Idempotency-Key every request is a "
        "new message.",
        "parameters": [_KEY_PARAMETER, _PREFER_PARAMETER],
        "requestBody": _body(),
        "responses": _posted((*_POSTING, *_WITH_KEY, *_EVERYWHERE)),
    }


def _preview_message() -> Json:
    return {
        "operationId": "previewMessage",
        "tags": ["messages"],
        "summary": "See what a message would send",
        "description": "Checks a message as `POST /messages` does, and answers with the calls of "
        "MobileConnect that it would become. Nothing is stored and nothing is sent, and no "
        "idempotency key is looked up.",
        "parameters": [],
        "requestBody": _body(),
        "responses": {
            "200": _success("What would be sent.", "PreviewedMessage", response_schemas.PREVIEWED),
            **_failures((*_PREVIEWING, *_WITH_KEY, *_EVERYWHERE)),
        },
    }


def _post_webhook() -> Json:
    return {
        "operationId": "postWebhook",
        "tags": ["messages"],
        "summary": "Send a message by webhook",
        "description": "For senders that sign as Standard Webhooks are signed, with a secret for "
        "each client. The webhook's id is the idempotency key: a copy of a webhook is answered "
        "again, and not sent again. The message is the whole body, or the `data` of a payload with "
        "`type`, `timestamp` and `data`; then the pointers of `errors` begin there. A deployment "
        "takes webhooks only if it is set up to.",
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
        "description": "Unknown fields, `null`, and names that stand twice in an object are "
        "refused. NUL characters and halves of surrogate pairs are, too.",
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
        "The message was taken: sent, or stored to be sent.",
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
        "description": "How the message stands.",
    },
    "token": {
        "operationId": "getToken",
        "parameters": {"tokenId": "$response.body#/sends/0/tokenId"},
        "description": "The way back, from a tokenId to the message.",
    },
}


def _get_message() -> Json:
    return {
        "operationId": "getMessage",
        "tags": ["messages"],
        "summary": "See how a message stands",
        "description": "Messages are kept for 90 days, unless the deployment says otherwise.",
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
        "again. Repeating the request has the same response.",
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
        "description": "Finds messages from every way in: HTTP, webhooks, SQS, SNS and "
        "EventBridge. Use exactly one of `idempotencyKey` and `reference`. A client finds only its "
        "own messages; a queue message that names no client belongs to the default client. A "
        "message that was refused in the queue is found by its key only. A page has at most 20 "
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
        "description": "Marketing Cloud gives each call a tokenId, and its own reports name it. A "
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
    """The responses with these problems, one for each status."""
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
