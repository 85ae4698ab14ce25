"""The guides of the page: life cycle, queue, events and callbacks."""

from typing import NamedTuple

from smsrelay.sends import transitions
from smsrelay.sends.delivery_report import DeliveryReport
from smsrelay.sends.send import DELIVERY_STATUSES, NOT_SENT_STATUSES, Status
from smsrelay.sends.status_events import StatusChange, event_of, is_final
from tools.openapi import Json, code_examples, event_schema, response_schemas
from tools.openapi.html_parts import in_languages, inline, json_block, paragraphs, table

# Life cycle

_NEW_KEY = "If it is still wanted, post it with a new key."
_ACCEPTED = """\
Marketing Cloud accepted it; `tokenId` is its receipt. The relay then asks for its delivery, for \
three days. It is final if the delivery is not polled."""
_UNKNOWN = """\
It may have been sent or not, because Marketing Cloud's answer was lost. The relay does not send \
it again automatically. If the request has `"onUnknown": "resend"`, such a send is `queued` again \
instead; if it is then cancelled, or expires, it becomes `unknown`."""
_MEANING: dict[Status, tuple[str, str]] = {
    Status.QUEUED: ("It waits for its first or next attempt.", "It can be cancelled."),
    Status.SENDING: ("The relay is calling Marketing Cloud.", "Nothing."),
    Status.ACCEPTED: (_ACCEPTED, "Nothing."),
    Status.DELIVERED: ("It reached all recipients.", "Nothing."),
    Status.PARTIALLY_DELIVERED: ("It reached some recipients.", "See `delivery`."),
    Status.UNDELIVERED: ("It reached no recipient.", "See `delivery` and `reason`."),
    Status.REJECTED: (
        "Marketing Cloud rejected it permanently; `errors` says why. It was not sent.",
        "Correct it, and post it with a new key.",
    ),
    Status.FAILED: (
        "It was too old to be tried again, or an operator ended it. It was not sent.",
        _NEW_KEY,
    ),
    Status.CANCELLED: ("It was cancelled before it was sent.", _NEW_KEY),
    Status.EXPIRED: ("It reached its `expiresAt` before it was sent.", _NEW_KEY),
    Status.UNKNOWN: (_UNKNOWN, "Ask the recipient, or the relay's operator."),
}
"""What each status means, and what the client can do."""


def life_cycle() -> str:
    """Return a drawing and a table of the statuses of a send."""
    introduction = (
        "A message becomes one or more sends. Each send is one call of Marketing Cloud, and has a "
        "status. While a status is not final, the relay continues automatically.\n\n"
        "If all sends have the same status, the message has it, too. Otherwise it is `unknown` if "
        "at least one send is, `accepted` if all were accepted, `partially_delivered` if the "
        "delivery of all is known, `queued` if all wait, and `partial` in all other cases. "
        "`GET /messages/{id}` shows both."
    )
    rows = [
        (
            f"<code>{status}</code>" + ' <span class="key">final</span>' * _ends(status),
            inline(_MEANING[status][0]),
            inline(_MEANING[status][1]),
        )
        for status in _MEANING
    ]
    anchors = [f"status-{status}" for status in _MEANING]
    words = table(("status", "meaning", "what to do"), rows, anchors)
    return paragraphs(introduction) + _drawing() + words


def _ends(status: Status) -> bool:
    return is_final(response_schemas.send(status=status, awaits_report=True))


class _Box(NamedTuple):
    """The position of a status in the drawing."""

    status: Status
    x: int
    y: int


_WIDTH, _HEIGHT, _BOX_WIDTH, _BOX_HEIGHT = 362, 338, 132, 28
_BOXES = (
    _Box(Status.QUEUED, 4, 6),
    _Box(Status.CANCELLED, 28, 62),
    _Box(Status.EXPIRED, 28, 102),
    _Box(Status.SENDING, 178, 6),
    _Box(Status.REJECTED, 202, 62),
    _Box(Status.FAILED, 202, 102),
    _Box(Status.UNKNOWN, 202, 142),
    _Box(Status.ACCEPTED, 202, 182),
    _Box(Status.DELIVERED, 226, 222),
    _Box(Status.PARTIALLY_DELIVERED, 226, 262),
    _Box(Status.UNDELIVERED, 226, 302),
)
_STEMS = ((16, 34, (76, 116)), (190, 34, (76, 116, 156, 196)), (214, 210, (236, 276, 316)))
"""Lines from a box (x, top) to the boxes that follow it, at these heights."""
_KINDS = {
    "goes-on": "not final",
    "reached": "delivery known",
    "not-sent": "not sent",
    "doubt": "sent or not",
}


def _kind(status: Status) -> str:
    if status in NOT_SENT_STATUSES:
        return "not-sent"
    if status is Status.UNKNOWN:
        return "doubt"
    return "reached" if status in DELIVERY_STATUSES else "goes-on"


def _drawing() -> str:
    lines = _arrow(136, 14, 178) + _arrow(178, 26, 136)
    for x, top, ends in _STEMS:
        lines += f'<path d="M{x} {top}V{ends[-1]}"/>'
        lines += "".join(_arrow(x, end, x + 12) for end in ends)
    legend = "".join(
        f'<rect class="{kind}" x="6" y="{218 + 30 * n}" width="16" height="16" rx="4"/>'
        f'<text x="32" y="{231 + 30 * n}">{words}</text>'
        for n, (kind, words) in enumerate(_KINDS.items())
    )
    boxes = "".join(map(_box, _BOXES))
    return (
        f'<svg class="life-cycle" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'aria-label="The statuses of a send, and which follows which; the table describes them">'
        f"<g>{lines}</g>{boxes}{legend}</svg>"
    )


def _arrow(x: int, y: int, to: int) -> str:
    back = -5 if to > x else 5
    return f'<path d="M{x} {y}H{to}m{back} -4L{to} {y}l{back} 4"/>'


def _box(box: _Box) -> str:
    status, x, y = box
    return (
        f'<rect class="{_kind(status)}" x="{x}" y="{y}" rx="6" '
        f'width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}"/>'
        f'<text x="{x + _BOX_WIDTH // 2}" y="{y + 18}" text-anchor="middle">{status}</text>'
    )


# Queue

_KEY = """\
The idempotency key. Without it, `idempotencyKey` in the JSON; without both, the id of the message \
in SQS, SNS (`MessageId`) or EventBridge (`id`). The same client and key over HTTP are the same \
message."""
_RESULT = """\
The queue has no response. `GET /messages?idempotencyKey=…` and `?reference=…` find the message, \
and events and callbacks report each result."""
_REFUSED = """\
A message that is not valid is not sent. It goes to the dead-letter queue, an alarm informs the \
operator, and `GET /messages?idempotencyKey=…` shows its `errors`."""
_QUEUED = (
    ("attribute `client`", "The client that posts it. Without it, the relay's default client."),
    ("attribute `Idempotency-Key`", _KEY),
    ("result", _RESULT),
    ("refused", _REFUSED),
)


def queue() -> str:
    """Return how to post through SQS, and how to find the result."""
    introduction = (
        "Systems with AWS credentials can send the same JSON to the relay's SQS queue (output "
        "`QueueUrl` of the stack); they need `sqs:SendMessage`. SNS topics and EventBridge rules "
        "that the operator has listed (`QueueSenderArns`) can post, too: the JSON is the "
        "notification's message, or the event's `detail`. An event always belongs to the default "
        "client."
    )
    rows = [(inline(name), inline(meaning)) for name, meaning in _QUEUED]
    examples = in_languages("queue", code_examples.QUEUE)
    return paragraphs(introduction) + table(("what", "meaning"), rows) + examples


# Events and callbacks

_EVENTS = """\
The relay reports changes of a send's status in two ways; the operator must turn on each. \
An event contains no phone number and no text."""

_BUS = """\
EventBridge gets an event for each change. Its source is `smsrelay`, its detail type is \
`smsrelay.send.` and the new status, and its detail is the `data` of the example below, with \
an `eventId`."""

_CALLBACK = """\
The relay posts each final result to the URL that the operator has stored for the client:"""

_RECEIVING = """\
Callbacks are signed as Standard Webhooks requires. `webhook-signature` is `v1,` and the \
Base64-encoded HMAC-SHA256 of `webhook-id`, `webhook-timestamp` and the body, separated by full \
stops. Several signatures are separated by spaces. Check the bytes of the body before you parse it.

Respond with 2xx within 10 seconds, and process the callback afterwards. After any other response, \
or none, the relay repeats the callback after 5 seconds, 5 minutes, 30 minutes, 2, 5, 10 and 10 \
hours; 410 ends this. A repetition has the same `webhook-id`, so ignore ids that you have seen."""


def callbacks(fields: str) -> str:
    """Return the guide to events and callbacks; `fields` are the tables of the schemas."""
    return "".join(
        (
            paragraphs(_EVENTS),
            f"<h3>Event bus: every change</h3>{paragraphs(_BUS)}",
            f"<h3>Callbacks: final results</h3>{paragraphs(_CALLBACK)}",
            json_block(example_event()),
            paragraphs(_RECEIVING),
            in_languages("callback", code_examples.CALLBACK),
            fields,
        )
    )


def example_event() -> Json:
    """Return the event of a reported delivery."""
    accepted = response_schemas.send(reference="order-8812", awaits_report=True)
    report = DeliveryReport("Finished", 1, {"12125550100": 4000})
    after = transitions.apply_report(accepted, report, now=accepted.created_at + 60, written_by="")
    return dict(event_of(StatusChange(accepted, after)))


def event_schemas() -> Json:
    """Return the schemas that only events have, by name."""
    whole = event_schema.schema()
    kept: Json = whole.pop("$defs")
    return {"Event": whole, **kept}
