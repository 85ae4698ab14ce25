"""The report of first contact: a verdict for each assumption of docs/unverified.md."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from smsrelay import __version__
from smsrelay.security.redaction import without
from smsrelay.sends.send import ACCEPTED_STATUSES
from tools.first_contact.findings import ENDED, Answer, Findings, shape
from tools.local_stack import ROOT
from tools.mobileconnect_simulator import deliveries, error_messages
from tools.mobileconnect_simulator.validation import decode_message_id, encode_message_id

PAGE: Final = ROOT / "docs" / "unverified.md"
CONFIRMED, REFUTED, UNTESTED = "confirmed", "refuted", "untested"
STATUSES: Final = {"New", "Queuing", "Started", *ENDED}
MAX_TOKEN: Final = 512
LIFETIMES: Final = range(600, 1_201)
"""Expected lifetimes in seconds; the documentation has 1,080 as an example."""
MISSING_SCOPE: Final = 20002
ONE_REASON: Final = "Marketing Cloud names one reason at a time, here the missing recipients."
NOT_STORED: Final = (
    "The stack makes the send, and stores only the tokenId of the response. The whole response "
    "would need a second SMS."
)
type Judgement = Callable[[Findings], bool | str]
"""True means confirmed, False refuted, and a text is the reason why it is untested."""


def _several_reasons(found: Findings) -> bool:
    return len(found.answers["two-mistakes"].errors) > 1


def _adds_no_reason(call: str) -> Judgement:
    """Judge whether Marketing Cloud refuses a call only for its missing recipients."""

    def judgement(found: Findings) -> bool | str:
        if not _several_reasons(found):
            return ONE_REASON
        return found.answers[call].errors == found.answers["no-recipients"].errors

    return judgement


def _adds_reason(call: str, reason: str) -> Judgement:
    """Judge whether Marketing Cloud names another reason besides the missing recipients."""

    def judgement(found: Findings) -> bool | str:
        has_reason = _has_reason(found.answers[call].errors, reason)
        return has_reason or (False if _several_reasons(found) else ONE_REASON)

    return judgement


def _has_reason(errors: Sequence[str], reason: str) -> bool:
    pattern = ".+".join(re.escape(part) for part in reason.split("{0}"))
    return any(re.fullmatch(pattern, error) for error in errors)


def _token_response(found: Findings) -> bool | str:
    answer = found.answers["token"]
    if answer.status != HTTPStatus.OK:
        return "Marketing Cloud issued no token with the scope sms_read only."
    token, lifetime = (answer.document.get(name) for name in ("access_token", "expires_in"))
    return (
        isinstance(token, str)
        and len(token) <= MAX_TOKEN
        and lifetime in LIFETIMES
        and isinstance(answer.document.get("rest_instance_url"), str)
    )


def _missing_scope(found: Findings) -> bool | str:
    if "missing-scope" not in found.answers:
        return "Marketing Cloud issued no token with the scope sms_read only."
    answer = found.answers["missing-scope"]
    code = answer.document.get("errorcode")
    return (answer.status, code) == (HTTPStatus.FORBIDDEN, MISSING_SCOPE)


def _has_platform_error(answer: Answer, status: int) -> bool:
    return answer.status == status and type(answer.document.get("errorcode")) is int


def _other_content_type(found: Findings) -> bool:
    answer = found.answers["other-content-type"]
    is_client_error = HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
    return is_client_error and (bool(answer.errors) or "errorcode" in answer.document)


def _client_refused(found: Findings) -> bool:
    answer = found.answers["client-refused"]
    is_documented = answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED}
    return is_documented and answer.document.get("error") == "invalid_client"


def _send_accepted(found: Findings) -> bool | str:
    send = found.send
    if send is None:
        return "The stack did not store the message: see the log of its queue worker."
    if send.status in ACCEPTED_STATUSES:
        return send.token_id is not None
    if send.reason == "unexpected-success":
        return False
    return " ".join((f"The send is {send.status}.", *without(send.errors, found.secrets)))


def _message_text(found: Findings) -> bool | str:
    return {"1": True, "2": False}.get(found.phone, "The person saw no SMS.")


def _rows(found: Findings) -> list[dict[str, Any]]:
    rows = found.delivery_report.get("tracking")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _delivery_report(found: Findings) -> bool:
    answer, rows = found.answers["poll"], _rows(found)
    return (
        answer.status == HTTPStatus.OK
        and isinstance(answer.document.get("status"), str)
        and type(answer.document.get("count")) is int
        and rows == answer.document.get("tracking")
        and all({"mobileNumber", "standardStatusCode"} <= row.keys() for row in rows)
    )


def _delivery_statuses(found: Findings) -> bool | str:
    return found.statuses <= STATUSES if found.statuses else "There is no delivery report."


def _delivery_codes(found: Findings) -> bool | str:
    codes = {str(row.get("standardStatusCode")) for row in _rows(found)}
    if not codes:
        return "The delivery report has no row."
    return codes <= {str(code) for code in deliveries.DESCRIPTIONS}


def _unsubscribed_count(found: Findings) -> bool | str:
    document = found.delivery_report
    if str(document.get("status")) not in ENDED or document.get("count") != 0:
        return "This needs a number that has not subscribed."
    return found.phone == "3"


def _message_id_form(found: Findings) -> bool | str:
    decoded = decode_message_id(found.message_id)
    has_form = decoded is not None and found.message_id == encode_message_id(decoded.first, 78, 0)
    if found.send and found.send.status in ACCEPTED_STATUSES:
        return has_form
    errors = found.send.errors if found.send else ()
    if has_form and _has_reason(errors, error_messages.ID_NOT_VALID):
        return False
    return "Marketing Cloud neither accepted a send with this id nor refused the id."


JUDGED: Final[Mapping[str, Judgement]] = {
    "refusal-shape": lambda it: it.answers["no-recipients"].is_refusal,
    "refusal-wording": (
        lambda it: error_messages.NO_RECIPIENTS in it.answers["no-recipients"].errors
    ),
    "several-reasons": _several_reasons,
    "window-over-midnight": _adds_no_reason("window-over-midnight"),
    "window-without-offset": _adds_no_reason("window-without-offset"),
    "field-casing": _adds_reason("field-casing", error_messages.OVERRIDE_BLANK),
    "blank-keyword": _adds_reason("blank-keyword", error_messages.KEYWORD_BLANK),
    "bad-send-time": _adds_reason("bad-send-time", error_messages.SEND_TIME_NOT_VALID),
    "subscriber-fields": (
        lambda it: error_messages.SUBSCRIBER_INCOMPLETE in it.answers["subscriber-fields"].errors
    ),
    "wrong-message-id": lambda it: it.answers["wrong-message-id"].is_refusal,
    "other-content-type": _other_content_type,
    "token-refused": lambda it: _has_platform_error(it.answers["token-refused"], 401),
    "missing-scope": _missing_scope,
    "unknown-route": lambda it: _has_platform_error(it.answers["unknown-route"], 404),
    "unknown-token-id": lambda it: it.answers["unknown-token-id"].is_refusal,
    "client-refused": _client_refused,
    "token-response": _token_response,
    "send-accepted": _send_accepted,
    "message-text": _message_text,
    "message-id-form": _message_id_form,
    "delivery-report": _delivery_report,
    "delivery-statuses": _delivery_statuses,
    "delivery-codes": _delivery_codes,
    "unsubscribed-count": _unsubscribed_count,
}
"""Judgements by the id of the assumption."""

EVIDENCE: Final[Mapping[str, str]] = {
    "refusal-shape": "no-recipients",
    "refusal-wording": "no-recipients",
    "several-reasons": "two-mistakes",
    "token-response": "token",
    "delivery-report": "poll",
    "delivery-statuses": "poll",
    "delivery-codes": "poll",
    "unsubscribed-count": "poll",
}
"""The call whose response is the evidence, if its name is not the assumption's id."""

NOT_ASKED: Final[Mapping[str, str]] = {
    "trailing-comma": NOT_STORED,
    "one-bad-number": "The call needs a good number as well, so it could send a second SMS.",
    "number-cap": "Only a send to 250 numbers shows that 250 are accepted.",
    "subscribers": "A call that Marketing Cloud accepts sends a second SMS.",
    "subscription": "A call that Marketing Cloud accepts sends a second SMS.",
    "send-time": "A call that Marketing Cloud accepts sends a second SMS.",
    "window-offset": "A call that Marketing Cloud accepts sends a second SMS.",
    "no-deduplication": "The same send twice could send two SMS.",
    "expired-token": "A token lasts about 18 minutes.",
    "rate-limit": "This needs so many calls that Marketing Cloud may block the account.",
    "foreign-responses": "Gateways respond in this way only during an outage.",
    "staged-secret": "A person must generate the secret: `smsrelay credentials stage` measures it.",
    "secret-lifetime": "It takes 180 days.",
    "api-volume": "Marketing Cloud shows the volume later, in its web interface.",
}
"""Why this command does not test an assumption, by its id."""


def assumptions(page: Path = PAGE) -> dict[str, str]:
    """Read the assumptions about Marketing Cloud from docs/unverified.md, by their ids."""
    table = page.read_text().partition("## Assumptions about AWS")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()]
    return {row[0].strip("`"): row[1] for row in rows if row[0].startswith("`") and len(row) > 1}


def judge(name: str, found: Findings) -> dict[str, Any]:
    """Return the verdict for an assumption, with the shape of the response."""
    if name in NOT_ASKED:
        return {"verdict": UNTESTED, "reason": NOT_ASKED[name]}
    try:
        result = JUDGED[name](found)
    except KeyError:
        result = "There was no response."
    verdict: dict[str, Any] = {"verdict": UNTESTED, "reason": result}
    if isinstance(result, bool):
        verdict = {"verdict": CONFIRMED if result else REFUTED}
    if answer := found.answers.get(EVIDENCE.get(name, name)):
        verdict["response"] = answer.without_values(found.secrets)
    if name == "send-accepted" and (send := found.send):
        stored = {"status": send.status, "reason": send.reason, "tokenId": shape(send.token_id)}
        verdict |= {"response": NOT_STORED, "stored": stored}
    return verdict


def report_of(found: Findings, *, is_local: bool) -> dict[str, Any]:
    """Return the report, which contains no secret, number or text."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "version": __version__,
        "stack": "local" if is_local else "deployed",
        "doctor": found.doctor,
        "assumptions": [
            {"id": name, "assumption": text, **judge(name, found)}
            for name, text in assumptions().items()
        ],
    }
