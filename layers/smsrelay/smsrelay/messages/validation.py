"""Validates a decoded document: returns the request, or all the reasons why it is refused.

The models (request.py) check single fields. This module checks fields and recipients together.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from smsrelay.messages import refusals, segments, times
from smsrelay.messages.phone_numbers import calling_code
from smsrelay.messages.refusals import MAX_REFUSALS, Refusal, RequestRefusedError, pointer
from smsrelay.messages.request import (
    MAX_RECIPIENTS,
    MAX_SENDS,
    MAX_TEXT,
    RECIPIENTS_PER_SEND,
    TOO_MANY_RECIPIENTS,
    CatalogueDefaults,
    ClientLimits,
    MessageRequest,
    Recipient,
    Subscriber,
    validate_max_segments,
)
from smsrelay.messages.strict_json import Document

Entry = tuple[int, str | Subscriber]
"""A valid recipient, after its index in `to`."""


def parse_request(
    document: Document,
    defaults: CatalogueDefaults = CatalogueDefaults(),  # noqa: B008 - immutable
    country_codes: Collection[str] = (),
    arrived_at: float = 0.0,
    limits: ClientLimits = ClientLimits(),  # noqa: B008 - the same
) -> MessageRequest:
    """Validate a decoded document. Raises `RequestRefusedError` with every reason at once.

    Recipients must have one of `country_codes` (empty: all) and one of the message's codes in the
    catalogue. `arrived_at` is in seconds since the epoch; with 0, send times in the past are valid.
    `limits` are the client's.
    """
    value, found, omitted = document.value, list(document.refusals), 0
    request = None
    try:
        request = MessageRequest.from_json(value)
        recipients: list[Entry] = list(enumerate(request.to))
        wrong: Sequence[Refusal] = ()
    except ValidationError as error:
        # This error has only the first invalid entry of `to`.
        found += [one for one in refusals_of(error) if not one.pointer.startswith("/to/")]
        recipients, wrong, omitted = _check_recipients(value)
    if defaults.refusal:
        found.append(defaults.refusal)
    if isinstance(value, dict):
        found += check_fields_together(value, defaults)
        found += check_times(value, arrived_at)
        if not defaults.refusal:
            found += check_segments(value, defaults)
    if limits.max_recipients < recipients_in(value) <= MAX_RECIPIENTS:
        most = limits.max_recipients
        detail = f"Too many recipients: the client's limit for one request is {most}."
        found.append(Refusal("/to", "too-many-recipients", detail))
    found += [*wrong, *check_duplicates(recipients)]
    found += check_guest(recipients, limits.only_to)
    found += check_countries(recipients, country_codes)
    found += check_countries(recipients, defaults.country_codes)
    if found or request is None:
        raise RequestRefusedError(list(dict.fromkeys(found)), omitted)
    return request.with_defaults(defaults)


_CODES = {
    "missing": ("missing", "The field is required."),
    "extra_forbidden": ("unknown-field", "There is no such field."),
    "string_type": ("wrong-type", "It must be a string."),
    "bool_type": ("wrong-type", "It must be true or false."),
    "list_type": ("wrong-type", "It must be an array."),
    "tuple_type": ("wrong-type", "It must be an array."),
    "dict_type": ("wrong-type", "It must be an object."),
    "datetime_type": ("wrong-type", "It must be a string."),
    "model_type": ("wrong-type", "It must be an object."),
    "model_attributes_type": ("wrong-type", "It must be an object."),
    "string_unicode": ("invalid-character", refusals.INVALID_CHARACTER),
    "string_too_short": ("blank", "It must not be blank."),
    "too_short": ("no-recipients", refusals.NO_RECIPIENTS),
}


def refusals_of(error: ValidationError, place: tuple[str | int, ...] = ()) -> list[Refusal]:
    """Convert pydantic's errors to refusals; `place` is the path of the validated value."""
    return [
        _refusal_of(detail, (*place, *detail["loc"]))
        for detail in error.errors(include_url=False, include_input=False)
    ]


def _refusal_of(error: ErrorDetails, path: tuple[str | int, ...]) -> Refusal:
    place = pointer(step for step in path if step != "[key]")
    kind = error["type"]
    if kind == "missing" and len(path) > 1 and path[0] == "to":
        return Refusal(place, "incomplete-subscriber", refusals.INCOMPLETE_SUBSCRIBER)
    if kind == "string_too_long":
        most = error["ctx"]["max_length"]
        return Refusal(place, "too-long", f"It must have at most {most} characters.")
    if kind == "literal_error":  # "expected" is such as "'hold' or 'resend'"
        values = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return Refusal(place, "invalid-value", f"It must be one of: {values}.")
    code, detail = _CODES.get(kind, (kind, error["msg"]))
    return Refusal(place, code, detail)


def check_fields_together(
    value: Mapping[str, Any], defaults: CatalogueDefaults
) -> Iterator[Refusal]:
    """Check rules between fields. They use the decoded value, so other faults don't hide them."""
    flags = [value.get("subscribe", False), value.get("resubscribe", False)]
    # If the catalogue refuses the name, it is not known whether the message has a keyword.
    has_default = bool(defaults.refusal or defaults.keyword)
    if True in flags and "keyword" not in value and not has_default:
        yield Refusal("/keyword", "keyword-missing", refusals.KEYWORD_MISSING)
    if flags == [False, False] and "keyword" in value:
        yield Refusal("/keyword", "keyword-not-needed", refusals.KEYWORD_NOT_NEEDED)
    yield from check_quiet_hours(value.get("quietHours"), "/quietHours")


def check_times(value: Mapping[str, Any], arrived_at: float) -> Iterator[Refusal]:
    """Check that `sendAt` is not long before the arrival, and that `expiresAt` is after both."""
    send_at, expires_at = (_seconds(value.get(name)) for name in ("sendAt", "expiresAt"))
    if send_at is not None and send_at < arrived_at - times.MAX_LATENESS:
        yield Refusal("/sendAt", "time-in-the-past", refusals.TIME_IN_THE_PAST)
    if expires_at is not None and expires_at <= max(arrived_at, send_at or 0.0):
        yield Refusal("/expiresAt", "expires-too-early", refusals.EXPIRES_TOO_EARLY)


def _seconds(written: object) -> float | None:
    """Return a valid time in seconds since the epoch; the model reports invalid times."""
    with suppress(PydanticCustomError):
        if isinstance(written, str):
            return times.parse_instant(written).timestamp()
    return None


def check_segments(value: Mapping[str, Any], defaults: CatalogueDefaults) -> Iterator[Refusal]:
    """Check that the text needs no more SMS than the request and the catalogue allow."""
    limits = [] if defaults.max_segments is None else [defaults.max_segments]
    with suppress(PydanticCustomError):  # the model reports it
        limits.append(validate_max_segments(value.get("maxSegments")))
    text = value.get("text")
    if "maxSegments" in value and "text" not in value:
        yield Refusal("/maxSegments", "text-missing", refusals.TEXT_MISSING)
    if not limits or not isinstance(text, str) or len(text) > MAX_TEXT:
        return
    size = segments.estimate(text, concatenated=bool(defaults.concatenate))
    if defaults.concatenate is None:
        size = min(size, segments.estimate(text, concatenated=True), key=lambda it: it.number)
    if size.number <= min(limits):
        return
    detail = f"The text needs {size.number} SMS in {size.encoding}; the limit is {min(limits)}."
    if size.encoding == "UCS-2":
        outside = segments.outside_gsm_7(text)
        detail += f" Characters outside GSM-7 shorten each SMS to 70 characters: {outside}."
    yield Refusal("/text", "too-many-segments", detail)


def check_quiet_hours(window: object, place: str) -> Iterator[Refusal]:
    """Check the fields of quiet hours together; `place` is their JSON Pointer."""
    if not isinstance(window, dict):
        return
    zones = [name for name in ("timezone", "utcOffset") if name in window]
    if not zones:
        yield Refusal(place, "zone-missing", "Quiet hours need a timezone or a utcOffset.")
    if len(zones) > 1:
        yield Refusal(place, "zone-ambiguous", "Give a timezone or a utcOffset, not both.")
    if "start" in window and window["start"] == window.get("end"):
        yield Refusal(f"{place}/end", "empty-window", "Quiet hours must not end when they start.")


def check_duplicates(entries: Sequence[Entry]) -> Iterator[Refusal]:
    """Refuse different entries with the same number; identical ones count as one recipient."""
    numbers = {recipient for _, recipient in entries if isinstance(recipient, str)}
    subscribers = 0
    if len(numbers) < len(entries):  # otherwise all entries are different numbers
        first: dict[str, Entry] = {}
        for n, recipient in entries:
            number = recipient if isinstance(recipient, str) else recipient.mobile
            at, other = first.setdefault(number, (n, recipient))
            if other != recipient:
                detail = f"/to/{at} has the same number with another key or other attributes."
                yield Refusal(pointer(("to", n)), "conflicting-recipients", detail)
        subscribers = sum(isinstance(recipient, Subscriber) for _, recipient in first.values())
    if sends_needed(len(numbers)) + sends_needed(subscribers) > MAX_SENDS:
        yield Refusal("/to", "too-many-recipients", TOO_MANY_RECIPIENTS)


def check_countries(entries: Sequence[Entry], allowed: Collection[str]) -> Iterator[Refusal]:
    """Refuse numbers without one of the calling codes; no codes allow all numbers."""
    if not allowed:
        return
    for number, place in _numbers(entries):
        if calling_code(number) not in allowed:
            yield Refusal(place, "country-not-allowed", refusals.COUNTRY_NOT_ALLOWED)


def check_guest(entries: Sequence[Entry], allowed: Collection[str]) -> Iterator[Refusal]:
    """Refuse numbers that are not a guest's own; without numbers, the client isn't a guest."""
    if not allowed:
        return
    for number, place in _numbers(entries):
        if number not in allowed:
            yield Refusal(place, "recipient-not-allowed", refusals.RECIPIENT_NOT_ALLOWED)


def _numbers(entries: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    """Yield the number of each recipient, and the pointer to it."""
    for n, recipient in entries:
        if isinstance(recipient, str):
            yield recipient, pointer(("to", n))
        else:
            yield recipient.mobile, pointer(("to", n, "mobile"))


def recipients_in(value: object) -> int:
    """Count the entries of `to` in a decoded request, valid or not; 0 if it isn't a list."""
    entries = value.get("to") if isinstance(value, dict) else None
    return len(entries) if isinstance(entries, list) else 0


def sends_needed(recipients: int) -> int:
    """Return the number of sends for so many recipients of one kind."""
    return -(-recipients // RECIPIENTS_PER_SEND)


def _check_recipients(value: object) -> tuple[list[Entry], list[Refusal], int]:
    """Return the valid recipients, refusals of the others, and the number of omitted refusals."""
    valid: list[Entry] = []
    found: list[Refusal] = []
    omitted = 0
    entries = value.get("to") if isinstance(value, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_RECIPIENTS:
        return valid, found, omitted
    for n, entry in enumerate(entries):
        try:
            recipient = _recipient_adapter().validate_python(entry)
        except ValidationError as error:
            if len(found) < MAX_REFUSALS:
                found += refusals_of(error, ("to", n))
            else:
                omitted += error.error_count()
        else:
            valid.append((n, recipient))
    return valid, found, omitted


@cache
def _recipient_adapter() -> TypeAdapter[str | Subscriber]:
    return TypeAdapter(Recipient)
