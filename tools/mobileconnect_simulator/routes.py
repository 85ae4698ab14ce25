"""MobileConnect without a network: takes calls, returns replies, and records both.

Each method takes one lock, so the threads of the test and of the server can both call it.
"""

import base64
import json
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

from tools.mobileconnect_simulator import (
    deliveries,
    error_messages,
    faults,
    magic_numbers,
    responses,
)
from tools.mobileconnect_simulator.blackout import departure
from tools.mobileconnect_simulator.call_log import (
    BoundedLog,
    CallEntry,
    ClockState,
    PhoneMessage,
    PostEntry,
    ReceivedEntry,
    SentEntry,
    TokenCounts,
)
from tools.mobileconnect_simulator.client_secrets import Change, ClientSecrets, SecretsState
from tools.mobileconnect_simulator.clock import Clock, TimeSource, stamp, utc_now
from tools.mobileconnect_simulator.credentials import TokenRequest, read_token_request
from tools.mobileconnect_simulator.deliveries import SimulatedDelivery
from tools.mobileconnect_simulator.faults import Fault, FaultEntry, FaultQueue, Route, Then
from tools.mobileconnect_simulator.magic_numbers import Magic, MagicClient
from tools.mobileconnect_simulator.responses import Reply
from tools.mobileconnect_simulator.tokens import DEFAULT_SECONDS, TokenStore
from tools.mobileconnect_simulator.validation import (
    MessageId,
    NotJsonError,
    Recipient,
    Send,
    decode_message_id,
    read_json,
    read_send,
)

MASK: Final = "***"


@dataclass(frozen=True)
class Settings:
    access_tokens: tuple[str, ...] = ()
    client_id: str | None = None
    client_secret: str | None = None
    token_seconds: int = DEFAULT_SECONDS
    polls_per_status: int = 1


@dataclass(frozen=True)
class Call:
    """A request to one of the upstream's routes; header names are in lower case."""

    method: str
    path: str
    route: Route | None
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    message_id: str | None = None
    token_id: str | None = None

    @cached_property
    def text(self) -> str | None:
        return None if self.raw is None else self.raw.decode("utf-8", errors="replace")

    @property
    def is_json(self) -> bool:
        media_type = self.headers.get("content-type", "").partition(";")[0]
        return media_type.strip().lower() == "application/json"


@dataclass(frozen=True)
class Cleared:
    """A valid call: the fault of its magic values, and the function that carries it out."""

    magic_fault: Callable[[], Fault | None]
    carry_out: Callable[[], Reply]


@dataclass(frozen=True)
class Accepted:
    """An accepted send."""

    delivery: SimulatedDelivery
    send: Send
    headers: dict[str, str]
    raw: str

    def entry(self) -> SentEntry:
        return SentEntry(
            id=self.delivery.message_id,
            headers=self.headers,
            raw=self.raw,
            body=json.loads(self.raw),
            tokenId=self.delivery.token_id,
            at=stamp(self.delivery.accepted_at),
        )

    def on_phone(self, recipient: Recipient, now: datetime) -> PhoneMessage:
        code = deliveries.code_of(self.delivery, recipient.number)
        return PhoneMessage(
            tokenId=self.delivery.token_id,
            messageId=self.delivery.message_id,
            text=deliveries.personalised(self.delivery, recipient),
            media=self.send.media,
            subscriberKey=recipient.key,
            keyword=self.send.keyword,
            at=stamp(self.delivery.accepted_at),
            sendAt=stamp(self.delivery.due),
            scheduledFor=_stamped(self.delivery.scheduled_for),
            quietUntil=_stamped(self.delivery.quiet_until),
            state=deliveries.state(self.delivery, recipient, now),
            code=code,
            description=deliveries.DESCRIPTIONS[code],
        )


class MobileConnect:
    def __init__(self, settings: Settings, time_source: TimeSource = utc_now) -> None:
        self.url = ""
        """The server's URL, which token responses contain."""
        self._settings = settings
        self._lock = threading.Condition()
        self._clock = Clock(time_source)
        self._tokens = TokenStore(self._clock, settings.token_seconds, known=settings.access_tokens)
        self._secrets = ClientSecrets(self._clock, settings.client_secret)
        self._magic = Magic()
        self._faults = FaultQueue()
        self._calls: BoundedLog[CallEntry] = BoundedLog()
        self._sent: BoundedLog[Accepted] = BoundedLog()
        self._by_token: dict[str, Accepted] = {}
        self._posts: BoundedLog[PostEntry] = BoundedLog()
        self._posts_made = 0
        self._received: BoundedLog[ReceivedEntry] = BoundedLog()
        self._received_count = 0
        self._calls_made = 0
        self._token_calls = 0
        self._watchers: set[Callable[[], object]] = set()
        self._checks: Mapping[Route, Callable[[Call], Reply | Cleared]] = {
            Route.TOKEN: self._check_token,
            Route.SEND: self._check_send,
            Route.DELIVERIES: self._check_deliveries,
        }

    # The upstream's routes.

    def handle(self, call: Call) -> Reply:
        with self._lock:
            if call.route is None:
                return self._record(call, responses.NOT_FOUND)
            fault = self._faults.peek(call.route)
            if fault is not None and not fault.then.accepts:
                self._faults.take(call.route)
                return self._record(call, faults.refusal(fault), fault)
            checked = self._checks[call.route](call)
            if isinstance(checked, Reply):
                return self._record(call, checked)
            if fault is not None:
                self._faults.take(call.route)
            else:
                fault = checked.magic_fault()
            if fault is not None and not fault.then.accepts:
                return self._record(call, faults.refusal(fault), fault)
            reply = checked.carry_out()
            if fault is not None:
                reply = faults.spoil(fault, reply)
            return self._record(call, reply, fault, accepted=True)

    def refuse_size(self, call: Call) -> Reply:
        with self._lock:
            return self._record(call, responses.TOO_LARGE)

    # The control routes.

    @contextmanager
    def watched(self, watcher: Callable[[], object]) -> Iterator[None]:
        """Call `watcher` after each change in the block; it must not call this object."""
        with self._lock:
            self._watchers.add(watcher)
        try:
            yield
        finally:
            with self._lock:
                self._watchers.discard(watcher)

    def sent(self) -> list[SentEntry]:
        with self._lock:
            entries = self._sent.entries()
        return [accepted.entry() for accepted in entries]

    def wait_for_sent(self, count: int, timeout: float) -> bool:
        with self._lock:
            return self._lock.wait_for(lambda: len(self._sent) >= count, timeout)

    def calls(self, newest: int | None = None, route: str | None = None) -> list[CallEntry]:
        """Return all calls or those of a route, or only the newest of them."""
        with self._lock:
            if route is None:
                return self._calls.entries(newest)
            entries = [entry for entry in self._calls.entries() if entry["route"] == route]
        return entries if newest is None else entries[max(0, len(entries) - newest) :]

    def calls_made(self) -> int:
        """Return the number of the latest call."""
        with self._lock:
            return self._calls_made

    def phones(self, newest: int | None = None) -> dict[str, list[PhoneMessage]]:
        """Return the messages of each number, oldest first, of all or the newest sends."""
        phones: dict[str, list[PhoneMessage]] = {}
        with self._lock:
            now = self._clock.now()
            entries = self._sent.entries(newest)
        for accepted in entries:
            for recipient in accepted.delivery.recipients:
                message = accepted.on_phone(recipient, now)
                phones.setdefault(recipient.number, []).append(message)
        return phones

    def token_counts(self) -> TokenCounts:
        with self._lock:
            return TokenCounts(fetches=self._tokens.fetches, calls=self._token_calls)

    def keep_post(self, entry: PostEntry) -> PostEntry:
        """Store a post of the form under a new number, or replace the post with its number."""
        with self._lock:
            if entry["n"]:
                for kept in self._posts.entries():
                    if kept["n"] == entry["n"]:
                        kept.update(entry)
            else:
                self._posts_made += 1
                entry["n"] = self._posts_made
                self._posts.add(entry, len(entry["request"]) + len(entry["answer"] or ""))
            self._changed()
            return entry

    def posts(self, newest: int | None = None) -> list[PostEntry]:
        with self._lock:
            return [entry.copy() for entry in self._posts.entries(newest)]

    def keep_received(self, entry: ReceivedEntry) -> None:
        """Store an event or callback of the relay with a number and the time."""
        with self._lock:
            self._received_count += 1
            entry["n"], entry["at"] = self._received_count, stamp(self._clock.now())
            self._received.add(entry, len(entry["raw"]))
            self._changed()

    def received(self, newest: int | None = None) -> list[ReceivedEntry]:
        with self._lock:
            return self._received.entries(newest)

    def clock(self) -> ClockState:
        with self._lock:
            return ClockState(
                now=stamp(self._clock.now()), aheadSeconds=self._clock.ahead.total_seconds()
            )

    def add_faults(self, ordered: list[Fault]) -> list[FaultEntry]:
        with self._lock:
            self._faults.add(ordered)
            self._changed()
            return self._faults.left()

    def remove_faults(self, route: Route | None, then: Then | None) -> list[FaultEntry]:
        with self._lock:
            self._faults.remove(route, then)
            self._changed()
            return self._faults.left()

    def faults_left(self) -> list[FaultEntry]:
        with self._lock:
            return self._faults.left()

    def reset(self) -> None:
        """Delete all records, faults and changes of secrets. Tokens remain valid."""
        with self._lock:
            self._secrets = ClientSecrets(self._clock, self._settings.client_secret)
            self._faults.clear()
            self._magic.clear()
            self._calls.clear()
            self._sent.clear()
            self._by_token.clear()
            self._clock.reset()
            self._tokens.fetches = 0
            self._token_calls = 0
            self._posts.clear()
            self._received.clear()
            self._changed()

    def issue_token(self, scopes: Iterable[str], seconds: int | None) -> str:
        with self._lock:
            return self._tokens.issue(frozenset(scopes), seconds)[0]

    def change_secrets(self, change: Change) -> SecretsState:
        """Stage, activate or revoke client secrets."""
        with self._lock:
            return self._secrets.change(change)

    def expire_tokens(self) -> None:
        with self._lock:
            self._tokens.expire_issued()

    def advance(self, by: timedelta) -> datetime:
        with self._lock:
            self._clock.advance(by)
            self._changed()
            return self._clock.now()

    # Token.

    def _check_token(self, call: Call) -> Reply | Cleared:
        request = read_token_request(call.raw if call.is_json else None)
        if isinstance(request, Reply):
            return request
        known = self._settings
        if not magic_numbers.is_client(request.client_id):
            good_id = known.client_id in {None, request.client_id}
            if not (good_id and self._secrets.accepts(request.client_secret)):
                return responses.oauth_error(401, "invalid_client", "Invalid client credentials.")
        return Cleared(
            magic_fault=lambda: self._magic.client_fault(request.client_id),
            carry_out=lambda: self._issue(request),
        )

    def _issue(self, request: TokenRequest) -> Reply:
        client = magic_numbers.CLIENTS.get(request.client_id, MagicClient())
        scopes = request.scopes if client.scopes is None else request.scopes & client.scopes
        token, life = self._tokens.issue(scopes, client.seconds)
        self._tokens.fetches += 1
        url = self.url.partition("://")[2] if client.bare_url else f"{self.url}/"
        body = {
            "access_token": token,
            "token_type": "Bearer",  # a kind, no secret # nosec B105
            "expires_in": life,
            "scope": " ".join(sorted(scopes)),
            "soap_instance_url": url,
            "rest_instance_url": url,
        }
        return responses.answer(200, body, secret=token)

    # Send.

    def _check_send(self, call: Call) -> Reply | Cleared:
        denied = self._denied(call, "sms_send")
        if denied is not None:
            return denied
        encoded = call.message_id or ""
        message = decode_message_id(encoded)
        if message is None:
            return responses.refused([error_messages.ID_NOT_VALID.format(encoded)])
        if not call.is_json:
            return responses.refused(["The content type must be application/json."])
        try:
            body = read_json(call.raw or b"")
        except NotJsonError as error:
            return responses.refused([f"The body is not valid JSON: {error}."])
        send, errors = read_send(body)
        if send is not None:
            errors = self._magic.refusals(encoded, message, send, self._clock.now())
        if send is None or errors:
            return responses.refused(errors)
        return Cleared(
            magic_fault=lambda: self._magic.fault(
                Route.SEND, encoded, message, magic_numbers.recipients_subject(send)
            ),
            carry_out=lambda: self._accept(call, encoded, message, send),
        )

    def _accept(self, call: Call, encoded: str, message: MessageId, send: Send) -> Reply:
        now = self._clock.now()
        leaving = departure(now, send.send_time, send.blackout)
        delivery = SimulatedDelivery(
            token_id=_new_token_id(message),
            message_id=encoded,
            recipients=tuple(
                recipient
                for recipient in send.recipients
                if magic_numbers.takes_part(recipient.number, resubscribe=send.resubscribe)
            ),
            text=send.text,
            accepted_at=now,
            due=leaving.leaves,
            scheduled_for=leaving.scheduled_for,
            quiet_until=leaving.quiet_until,
            ending=magic_numbers.ending(message),
        )
        accepted = Accepted(delivery, send, _shown(call.headers), call.text or "")
        self._by_token[delivery.token_id] = accepted
        self._lock.notify_all()
        for dropped in self._sent.add(accepted, len(accepted.raw)):
            del self._by_token[dropped.delivery.token_id]
        reply = responses.answer(202, {"tokenId": delivery.token_id})
        return replace(reply, token_id=delivery.token_id)

    # Deliveries.

    def _check_deliveries(self, call: Call) -> Reply | Cleared:
        denied = self._denied(call, "sms_read")
        if denied is not None:
            return denied
        encoded = call.message_id or ""
        message = decode_message_id(encoded)
        if message is None:
            return responses.refused([error_messages.ID_NOT_VALID.format(encoded)])
        token_id = call.token_id or ""
        accepted = self._by_token.get(token_id)
        if accepted is None or accepted.delivery.message_id.rstrip("=") != encoded.rstrip("="):
            return responses.refused([error_messages.TOKEN_NOT_VALID.format(token_id)])
        return Cleared(
            magic_fault=lambda: self._magic.fault(Route.DELIVERIES, encoded, message, token_id),
            carry_out=lambda: responses.answer(
                200,
                deliveries.poll(
                    accepted.delivery, self._clock.now(), self._settings.polls_per_status
                ),
            ),
        )

    # What they share.

    def _denied(self, call: Call, scope: str) -> Reply | None:
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        granted = self._tokens.scopes(token.strip()) if scheme.lower() == "bearer" else None
        if granted is None:
            return responses.NOT_AUTHORIZED
        return None if scope in granted else responses.MISSING_SCOPE

    def _record(
        self, call: Call, reply: Reply, fault: Fault | None = None, *, accepted: bool = False
    ) -> Reply:
        self._calls_made += 1
        if call.route is Route.TOKEN:
            self._token_calls += 1
        heard = reply.manner is responses.Manner.ANSWER
        shown = reply.text if reply.secret is None else reply.text.replace(reply.secret, MASK)
        raw = _without_secret(call) if call.route is Route.TOKEN else call.text
        entry = CallEntry(
            n=self._calls_made,
            at=stamp(self._clock.now()),
            route=None if call.route is None else call.route.value,
            method=call.method,
            path=call.path,
            id=call.message_id,
            headers=_shown(call.headers),
            raw=raw,
            status=reply.status if heard else None,
            answer=shown if heard else None,
            accepted=accepted,
            tokenId=reply.token_id or call.token_id,
            fault=None if fault is None else fault.then.value,
        )
        self._calls.add(entry, len(raw or "") + len(shown))
        self._changed()
        return reply

    def _changed(self) -> None:
        for watcher in self._watchers:
            watcher()


def _shown(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "authorization"}


def _stamped(moment: datetime | None) -> str | None:
    return None if moment is None else stamp(moment)


def _without_secret(call: Call) -> str | None:
    """The body of a token call as the record may show it."""
    try:
        body = json.loads(call.text or "")
    except ValueError:
        return None if call.text is None else MASK
    if isinstance(body, dict) and "client_secret" in body:
        body["client_secret"] = MASK
    return json.dumps(body)


def _new_token_id(message: MessageId) -> str:
    # Marketing Cloud's tokenIds also encode a random id and the two last parts of the message id.
    plain = f"{secrets.token_urlsafe(16)}:{message.middle}:{message.last}"
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")
