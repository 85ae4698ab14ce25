"""A client of the simulator's control routes: reads its calls, and sets its responses."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx


class SimulatorControl:
    """Controls the simulator of a stack over HTTP."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/_control", trust_env=False, timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def sent(self) -> list[dict[str, Any]]:
        """Return each accepted send: `id`, `headers`, `raw`, `body`, `tokenId`, `at`."""
        return self._entries("/sent")

    def calls(self) -> list[dict[str, Any]]:
        """Return each call with its response."""
        return self._entries("/calls")

    def fail(self, faults: Sequence[Mapping[str, Any]]) -> None:
        """Set up faults: `{"route", "then", "times", "delayMs"}` each."""
        self._client.post("/faults", json=list(faults)).raise_for_status()

    def tokens_fetched(self) -> int:
        """Return how many access tokens were issued since the last reset."""
        counts: dict[str, int] = self._client.get("/tokens").raise_for_status().json()
        return counts["fetches"]

    def expire_tokens(self) -> None:
        """Expire all access tokens."""
        self._client.post("/tokens/expire").raise_for_status()

    def change_secrets(self, change: str) -> dict[str, Any]:
        """Change the client secrets: `stage`, `activate` or `revoke`."""
        response = self._client.post("/secrets", json={"change": change})
        state: dict[str, Any] = response.raise_for_status().json()
        return state

    def received(self) -> list[dict[str, Any]]:
        """Return each event and callback that the relay sent."""
        return self._entries("/received")

    def introduce_relay(
        self, api_url: str, api_key: str, callback_secret: str | None = None
    ) -> None:
        """Set the relay that the phone page's form posts to.

        Without the secret that signs callbacks, the simulator refuses them.
        """
        relay = {"apiUrl": api_url, "apiKey": api_key, "callbackSecret": callback_secret}
        self._client.put("/relay", json=relay).raise_for_status()

    def reset(self) -> None:
        """Delete all recorded calls and all faults."""
        self._client.post("/reset").raise_for_status()

    def _entries(self, path: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._client.get(path).raise_for_status().json()
        return entries
