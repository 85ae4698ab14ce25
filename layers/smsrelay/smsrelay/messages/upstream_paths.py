"""The paths of the upstream's routes, without what only senders need."""

from urllib.parse import quote


def message_path(upstream_message_id: str) -> str:
    """What the routes of a message begin with; that of a send adds `/send`."""
    return f"/sms/v1/messageContact/{quote(upstream_message_id, safe='')}"
