"""The message catalogue: names and defaults for message ids, and the clients' callback URLs.

docs/message-catalogue.md shows the JSON document.
"""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from smsrelay.messages.client_names import RULE, is_client_name
from smsrelay.messages.phone_numbers import is_calling_code
from smsrelay.messages.refusals import MESSAGE_ID, Refusal, RequestRefusedError, pointer
from smsrelay.messages.request import (
    MAX_SEGMENTS,
    NOT_NULL,
    CatalogueDefaults,
    MaxSegments,
    QuietHours,
    StrictModel,
    is_encoded_id,
    not_null,
    validate_keyword,
    validate_message,
)
from smsrelay.messages.strict_json import Document
from smsrelay.messages.validation import check_quiet_hours, refusals_of

MAX_CATALOGUE_BYTES: Final = 8_192
"""The largest value of Parameter Store's advanced tier."""
MAX_SUGGESTIONS: Final = 3
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""A message name; the field `message` of a request accepts it."""
# One pattern checks the whole URL, because URL parsers can disagree about its host. The last label
# must begin with a letter: a host that is a number in any notation is an IP address.
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
CALLBACK: Final = re.compile(
    rf"https://(?:{_LABEL}\.)+(?!localhost[:/?]|localhost$)[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])"
    r"(?::[0-9]{1,5})?(?:[/?][A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?",
    re.ASCII | re.IGNORECASE,
)
LOOPBACK_CALLBACK: Final = re.compile(
    r"http://127\.0\.0\.1:[0-9]{1,5}(?:/[A-Za-z0-9._/-]*)?", re.ASCII
)
MAX_CALLBACK, MAX_PORT = 2_048, 65_535


def _wrong(detail: str) -> PydanticCustomError:
    """Return an error of the catalogue. It needs no code: only refusals of requests have codes."""
    return PydanticCustomError("unusable", detail)


def _id(value: str) -> str:
    if not is_encoded_id(validate_message(value)):
        raise _wrong(MESSAGE_ID)
    return value


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise _wrong("A name is 1 to 128 letters, digits, hyphens and underscores.")
    if is_encoded_id(value):
        raise _wrong("A name must not look like an encoded message id.")
    return value


def _client(value: str) -> str:
    if not is_client_name(value):
        raise _wrong(f"A client's name is {RULE}.")
    return value


def _validate_clients(clients: tuple[str, ...]) -> tuple[str, ...]:
    if not clients:
        raise _wrong("It must not be empty. Leave the field out to allow all clients.")
    return clients


def _validate_codes(codes: tuple[str, ...]) -> tuple[str, ...]:
    if not codes or not all(map(is_calling_code, codes)):
        raise _wrong('It must list calling codes such as "44". Leave the field out to allow all.')
    return codes


def _callback(value: str, info: ValidationInfo) -> str:
    if info.context and LOOPBACK_CALLBACK.fullmatch(value):
        return value
    match = CALLBACK.fullmatch(value)
    port = re.match(r"https://[^/?]*:([0-9]+)", value, re.IGNORECASE)
    if not match or (port and not 1 <= int(port[1]) <= MAX_PORT):
        raise _wrong(
            "It must be an https URL with a host name, not an IP address or localhost, and without "
            "a user or a fragment."
        )
    return value


def _to_tuple(value: object) -> object:
    """Convert a JSON array to a tuple: pydantic's strict mode does not accept a list for it."""
    return tuple(value) if isinstance(value, list) else not_null(value)


Client = Annotated[str, AfterValidator(_client)]


class CatalogueMessage(StrictModel):
    """A named message, with defaults for the fields that a request leaves out."""

    id: Annotated[str, Field(max_length=512), AfterValidator(_id)]
    keyword: Annotated[str | None, NOT_NULL, AfterValidator(validate_keyword)] = Field(
        default=None, max_length=100
    )
    quiet_hours: Annotated[QuietHours | None, NOT_NULL] = None
    allowed_clients: Annotated[
        tuple[Client, ...] | None, BeforeValidator(_to_tuple), AfterValidator(_validate_clients)
    ] = None
    on_unknown: Annotated[Literal["hold", "resend"] | None, NOT_NULL] = None
    delivery_polling: Annotated[Literal["all", "none"] | None, NOT_NULL] = None
    country_codes: Annotated[
        tuple[str, ...], BeforeValidator(_to_tuple), AfterValidator(_validate_codes)
    ] = ()
    concatenate: Annotated[bool, NOT_NULL] = False
    max_segments: MaxSegments = Field(default=None, ge=1, le=MAX_SEGMENTS)

    @model_validator(mode="before")
    @classmethod
    def _of_id(cls, value: object) -> object:
        """Accept a bare string as the id."""
        return {"id": value} if isinstance(value, str) else value

    def allows(self, client: str) -> bool:
        return self.allowed_clients is None or client in self.allowed_clients


class CatalogueClient(StrictModel):
    callback: Annotated[str | None, NOT_NULL, AfterValidator(_callback)] = Field(
        default=None, max_length=MAX_CALLBACK
    )


class Catalogue(StrictModel):
    messages: dict[Annotated[str, AfterValidator(_name)], CatalogueMessage] = Field(
        default_factory=dict
    )
    clients: dict[Client, CatalogueClient] = Field(default_factory=dict)

    def resolve(self, name: str, client: str) -> CatalogueDefaults:
        """Return the defaults of a named message, or the refusal if the client can't use it."""
        entry = self.messages.get(name)
        if entry is None:
            near = ", ".join(self._near(name, client))
            # The posted name is not repeated: it may be a phone number.
            detail = "The catalogue has no such message, and it is not an encoded message id."
            detail += f" Similar names: {near}." if near else ""
            return CatalogueDefaults(refusal=Refusal("/message", "unknown-message", detail))
        if not entry.allows(client):
            detail = "This client may not use this message."
            return CatalogueDefaults(refusal=Refusal("/message", "message-not-allowed", detail))
        return CatalogueDefaults(
            entry.id,
            entry.keyword,
            entry.quiet_hours,
            entry.on_unknown,
            poll_delivery=entry.delivery_polling != "none",
            country_codes=entry.country_codes,
            concatenate=entry.concatenate,
            max_segments=entry.max_segments,
        )

    def callback_of(self, client: str) -> str | None:
        """Return the client's callback URL; None if it has none."""
        entry = self.clients.get(client)
        return entry.callback if entry else None

    def _near(self, name: str, client: str) -> list[str]:
        """Return the most similar names among those that the client may use."""
        usable = {
            other.lower(): other
            for other, message in self.messages.items()
            if message.allows(client)
        }
        return [usable[match] for match in get_close_matches(name.lower(), usable, MAX_SUGGESTIONS)]


def parse_catalogue(document: Document, *, loopback_callbacks: bool = False) -> Catalogue:
    """Parse a decoded catalogue. Raises `RequestRefusedError` with every reason.

    `loopback_callbacks` also allows callbacks to http://127.0.0.1; only the local stack sets it.
    """
    found = list(document.refusals)
    catalogue = None
    try:
        catalogue = Catalogue.from_json(document.value, loopback_callbacks)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        for refusal, detail in zip(refusals_of(error), details, strict=True):
            place = pointer(_inside(document.value, detail["loc"]))
            found.append(refusal._replace(pointer=place))
    found += _check_entries(document.value)
    if found or catalogue is None:
        raise RequestRefusedError(list(dict.fromkeys(found)))
    return catalogue


def _inside(value: object, path: tuple[str | int, ...]) -> Iterator[str | int]:
    """Cut the path where the document ends: a bare id has no fields."""
    for step in path:
        if step == "[key]" or not isinstance(value, dict | list):
            return
        yield step
        if isinstance(value, dict):
            value = value.get(step)
        else:
            value = value[step] if isinstance(step, int) else None


def _check_entries(raw: object) -> Iterator[Refusal]:
    messages = raw.get("messages") if isinstance(raw, dict) else None
    for name, entry in messages.items() if isinstance(messages, dict) else ():
        if isinstance(entry, dict):
            place = pointer(("messages", name, "quietHours"))
            yield from check_quiet_hours(entry.get("quietHours"), place)
