"""Ids of messages: derived from the caller's key where there is one, else new."""

import hashlib

from ulid import ULID


def message_id(client: str, key: str) -> str:
    """The id of the message that `client` posts under the idempotency key `key`.

    The same pair always has the same id, so that the first write of a message is its lock: a
    second request with the same key meets the item of the first. 26 characters, like a ULID.
    """
    digest = hashlib.sha256(f"{len(client)}:{client}{key}".encode()).digest()
    return str(ULID.from_bytes(digest[:16]))


def new_message_id() -> str:
    """The id of a message that has no idempotency key: a ULID, so ids sort by time."""
    return str(ULID())
