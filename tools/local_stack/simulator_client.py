"""The control routes of a running simulator: what it was sent, and what it is to answer."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx


class SimulatorControl:
    """The simulator of a stack, seen from outside."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/_control", trust_env=False, timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def sent(self) -> list[dict[str, Any]]:
        """Each send that was accepted: `id`, `headers`, `raw`, `body`, `tokenId`, `at`."""
        return self._entries("/sent")

    def calls(self) -> list[dict[str, Any]]:
        """Each call, and what was answered."""
        return self._entries("/calls")

    def fail(self, faults: Sequence[Mapping[str, Any]]) -> None:
        """Order faults: `{"route", "then", "times", "delayMs"}` each."""
        self._client.post("/faults", json=list(faults)).raise_for_status()

    def tokens_fetched(self) -> int:
        """How many access tokens were handed out since the last reset."""
        counts: dict[str, int] = self._client.get("/tokens").raise_for_status().json()
        return counts["fetches"]

    def expire_tokens(self) -> None:
        """End every access token before its time."""
        self._client.post("/tokens/expire").raise_for_status()

    def change_secrets(self, change: str) -> dict[str, Any]:
        """Change the client secrets: `stage`, `activate` or `revoke`."""
        response = self._client.post("/secrets", json={"change": change})
        state: dict[str, Any] = response.raise_for_status().json()
        return state

    def received(self) -> list[dict[str, Any]]:
        """Each event and callback that the relay sent."""
        return self._entries("/received")

    def introduce_relay(
        self, api_url: str, api_key: str, callback_secret: str | None = None
    ) -> None:
        """Say where the relay is that the phone page's form is to post to.

        Without the secret that they are signed with, the simulator refuses callbacks.
        """
        relay = {"apiUrl": api_url, "apiKey": api_key, "callbackSecret": callback_secret}
        self._client.put("/relay", json=relay).raise_for_status()

    def reset(self) -> None:
        """Forget all calls, and all faults that were ordered."""
        self._client.post("/reset").raise_for_status()

    def _entries(self, path: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._client.get(path).raise_for_status().json()
        return entries
