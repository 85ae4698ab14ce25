"""Posts requests of the phone page's form to the relay. Its API key is not sent to the page."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from tools.mobileconnect_simulator.call_log import PostEntry
from tools.mobileconnect_simulator.routes import MobileConnect

LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
SECONDS: Final = 65
"""Longer than API Gateway's time-out."""
_SHOWN: Final = ("Location", "Retry-After", "Idempotent-Replayed", "Preference-Applied")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_MESSAGE: Final = re.compile(r"[0-9A-Za-z]{1,64}")
_MAY_STILL_CALL: Final = frozenset({"queued", "sending"})


class BadOrderError(ValueError):
    """The control call can't be carried out; the message says why."""


class Relay:
    """The address of the relay, after a control call has set it, and the posts to it."""

    def __init__(self, service: MobileConnect) -> None:
        self._service = service
        self._api_url = ""
        self._api_key = ""
        self.callback_secret: str | None = None
        """The secret that signs callbacks; None if no callbacks are expected."""
        self._session: aiohttp.ClientSession | None = None

    def shown(self) -> dict[str, object]:
        return {"known": bool(self._api_url), "apiUrl": self._api_url or None}

    def introduce(self, value: object) -> None:
        """Set the address of the relay's API, its API key, and the secret of its callbacks.

        Raises:
            BadOrderError: the address or the key is missing, or not on this machine.
        """
        given: Mapping[str, object] = value if isinstance(value, Mapping) else {}
        url, key = given.get("apiUrl"), given.get("apiKey")
        secret = given.get("callbackSecret")
        known = set(given) - {"callbackSecret"} == {"apiUrl", "apiKey"}
        if not known or not isinstance(url, str) or not isinstance(key, str):
            raise BadOrderError("The body must be an object with apiUrl and apiKey.")
        if not _is_loopback(url):
            raise BadOrderError("apiUrl must be an http URL with a loopback address.")
        if not _VISIBLE.fullmatch(key):
            raise BadOrderError("apiKey must consist of visible ASCII characters.")
        self._api_url, self._api_key = url.rstrip("/"), key
        self.callback_secret = secret if isinstance(secret, str) else None

    async def post(self, value: object) -> PostEntry:
        """Post the content of the form, and store the result.

        Raises:
            BadOrderError: no relay is set, or the content can't be posted.
        """
        self._must_be_known()
        body, headers = _read_order(value)
        first_call = self._service.calls_made() + 1
        entry = PostEntry(
            n=0,
            at=self._service.clock()["now"],
            request=body,
            headers=headers,
            status=None,
            answerHeaders={},
            answer=None,
            problem=None,
            messageId=None,
            tokenIds=[],
            open=False,
            firstCall=first_call,
            lastCall=first_call - 1,
        )
        try:
            async with self._http().post(
                f"{self._api_url}/messages",
                data=body.encode(),
                headers={**headers, **self._key(), "Content-Type": "application/json"},
                allow_redirects=False,
            ) as response:
                entry["status"] = response.status
                entry["answer"] = await response.text(errors="replace")
                entry["answerHeaders"] = {
                    name: response.headers[name] for name in _SHOWN if name in response.headers
                }
        except (aiohttp.ClientError, TimeoutError, RuntimeError) as error:
            entry["problem"] = f"The relay did not answer: {type(error).__name__}."
        entry["lastCall"] = self._service.calls_made()
        _learn(entry, entry["answer"])
        return self._service.keep_post(entry)

    async def ask(self, number: int) -> PostEntry:
        """Query the relay for the current tokenIds of a post.

        Raises:
            BadOrderError: no relay is set, or the post does not exist.
        """
        self._must_be_known()
        entry = next((it for it in self._service.posts() if it["n"] == number), None)
        if entry is None or entry["messageId"] is None:
            raise BadOrderError(f"The relay has stored no post {number}.")
        try:
            async with self._http().get(
                f"{self._api_url}/messages/{entry['messageId']}",
                headers=self._key(),
                allow_redirects=False,
            ) as response:
                stored = await response.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError, RuntimeError):
            return entry  # the page asks again after the next call
        before = entry.copy()
        _learn(entry, stored)
        return entry if entry == before else self._service.keep_post(entry)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _must_be_known(self) -> None:
        if not self._api_url:
            raise BadOrderError("No relay is set: PUT /_control/relay sets it.")

    def _key(self) -> dict[str, str]:
        return {"x-api-key": self._api_key}

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False)
        return self._session


def _is_loopback(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = parts.port is None or parts.port > 0
    except ValueError:
        return False
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    return parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS and plain and named


def _read_order(value: object) -> tuple[str, dict[str, str]]:
    """Return the body and the headers to post."""
    order: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
    body, key = order.get("body"), order.get("idempotencyKey", "")
    deferred = order.get("respondAsync", False)
    if not isinstance(body, str) or not isinstance(key, str) or not isinstance(deferred, bool):
        raise BadOrderError("The body must be an object with body, idempotencyKey, respondAsync.")
    if not _HEADER_VALUE.fullmatch(key):
        raise BadOrderError("The Idempotency-Key is a header, so it must be printable ASCII.")
    try:
        body.encode()
    except UnicodeEncodeError as error:
        raise BadOrderError(
            "The text contains an incomplete character (a single surrogate)."
        ) from error
    headers = {}
    if key:
        headers["Idempotency-Key"] = key
    if deferred:
        headers["Prefer"] = "respond-async"
    return body, headers


def _learn(entry: PostEntry, answer: str | None) -> None:
    """Add the message id and the tokenIds of the relay's response to the entry."""
    try:
        told = json.loads(answer or "null")
    except ValueError:
        return
    if not isinstance(told, dict):
        return
    message = told.get("id")
    if isinstance(message, str) and _MESSAGE.fullmatch(message):
        entry["messageId"] = message
    sends = told.get("sends")
    if not isinstance(sends, list):
        return
    rows = [send for send in sends if isinstance(send, dict)]
    entry["tokenIds"] = [row["tokenId"] for row in rows if isinstance(row.get("tokenId"), str)]
    entry["open"] = any(row.get("status") in _MAY_STILL_CALL for row in rows)
