"""Builds the HTTP responses about messages and tokenIds. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from smsrelay.messages.preview import PreviewWarning
from smsrelay.messages.request import Submission
from smsrelay.messages.upstream_calls import UpstreamCall
from smsrelay.messages.upstream_paths import message_path
from smsrelay.ports import RecipientResult, RefusedMessage
from smsrelay.sends.message_status import message_status
from smsrelay.sends.send import ACCEPTED_STATUSES, MessageState, Send, SendKey, Status
from smsrelay.sends.status_events import iso_time, segments_of
from smsrelay.sends.transitions import RESOLVED
from smsrelay.services.http_response import Response
from smsrelay.services.problem_documents import errors_of, problem


def of_message(message: MessageState, *, deferred: bool) -> Response:
    # A repeated request gets the same response: only a GET reports the delivery.
    at_first = [_at_first(send) for send in message.sends]
    status = message_status([send.status for send in at_first])
    sends = [_brief(send) for send in at_first]
    headers = {"Location": f"/messages/{message.id}"}
    if deferred:
        headers["Preference-Applied"] = "respond-async"
    if message.replayed:
        headers["Idempotent-Replayed"] = "true"
    if status == Status.UNKNOWN:
        return problem(
            HTTPStatus.GATEWAY_TIMEOUT,
            "delivery-unknown",
            "It is not known whether the message was sent. The relay does not send it again "
            "automatically. Repeating the request with the same Idempotency-Key is safe: it never "
            "sends twice.",
            headers,
            id=message.id,
            sends=sends,
        )
    if status == Status.REJECTED:
        return problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "upstream-refused",
            "Marketing Cloud refused the message. Nothing was sent. Post the corrected message "
            "with a new Idempotency-Key.",
            headers,
            id=message.id,
            errors=list(dict.fromkeys(word for send in message.sends for word in send.errors)),
            sends=sends,
        )
    if status == Status.CANCELLED:
        return problem(
            HTTPStatus.CONFLICT,
            "message-cancelled",
            "The message was cancelled before it was sent. Nothing was sent. Use a new "
            "Idempotency-Key for another message.",
            headers,
            id=message.id,
            sends=sends,
        )
    if status in {Status.FAILED, Status.EXPIRED}:
        end = "it expired" if status == Status.EXPIRED else "it was too old"
        if any(send.reason == RESOLVED for send in message.sends):
            end = "an operator resolved it"
        return problem(
            HTTPStatus.BAD_GATEWAY,
            "not-sent",
            f"Marketing Cloud did not accept the message before {end}. Nothing was sent.",
            headers,
            id=message.id,
            sends=sends,
        )
    body = {"id": message.id, "status": status, "sends": sends}
    return Response(HTTPStatus.ACCEPTED, body, headers)


def _at_first(send: Send) -> Send:
    if send.status in ACCEPTED_STATUSES:
        return replace(send, status=Status.ACCEPTED, reason=None)
    return send


def of_preview(
    submission: Submission, calls: Sequence[UpstreamCall], warnings: Iterable[PreviewWarning]
) -> Response:
    path = f"{message_path(submission.upstream_message_id)}/send"
    preview = {
        "requests": [
            {
                "method": "POST",
                "path": path,
                "body": json.loads(call.body),
                "recipients": call.recipients,
            }
            for call in calls
        ],
        "recipients": sum(call.recipients for call in calls),
        **segments_of(submission.segments),
        "warnings": [warning._asdict() for warning in warnings],
    }
    body = {name: value for name, value in preview.items() if value is not None}
    return Response(HTTPStatus.OK, body)


def of_stored(
    message: MessageState | RefusedMessage,
    message_id: str,
    results: Mapping[int, Sequence[RecipientResult]] = {},
) -> Response:
    if isinstance(message, RefusedMessage):
        refused = {
            "id": message_id,
            "status": Status.REJECTED,
            "createdAt": iso_time(message.created_at),
            "errors": errors_of(message.refusals),
            "sends": [],
        }
        return Response(HTTPStatus.OK, refused)
    first = message.sends[0]
    body: dict[str, Any] = {
        "id": message.id,
        "status": message_status([send.status for send in message.sends]),
        "createdAt": iso_time(first.created_at),
    }
    if first.reference is not None:
        body["reference"] = first.reference
    body["sends"] = [_stored(send, results.get(send.key.number, ())) for send in message.sends]
    return Response(HTTPStatus.OK, body)


def of_found(
    messages: Mapping[str, MessageState | RefusedMessage], cursor: str | None = None
) -> Response:
    """Build the response to a search; `cursor` is where the next page begins."""
    found = [of_stored(message, message_id).body for message_id, message in messages.items()]
    return Response(HTTPStatus.OK, {"messages": found, "next": cursor})


def _stored(send: Send, results: Sequence[RecipientResult]) -> dict[str, Any]:
    stored = {**_brief(send), "attempts": send.attempts, "updatedAt": iso_time(send.updated_at)}
    if send.delivery:
        delivery = {**send.delivery.as_json(), "checkedAt": iso_time(send.delivery.checked_at)}
        if results:
            delivery["recipients"] = [result._asdict() for result in results]
        stored["delivery"] = delivery
    return stored


def of_token(token_id: str, key: SendKey) -> Response:
    body = {"tokenId": token_id, "id": key.message_id, "n": key.number}
    return Response(HTTPStatus.OK, body, {"Link": f'</messages/{key.message_id}>; rel="item"'})


def _brief(send: Send) -> dict[str, Any]:
    brief = {
        "n": send.key.number,
        "status": send.status,
        "recipients": send.recipients,
        "tokenId": send.token_id,
        "reason": send.public_reason,
        "note": send.note,
        "errors": list(send.errors) or None,
        **segments_of(send.segments),
    }
    return {name: value for name, value in brief.items() if value is not None}
