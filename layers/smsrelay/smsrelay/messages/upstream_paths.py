"""The paths of the upstream's routes; a separate module, so that its importers load little."""

from urllib.parse import quote


def message_path(upstream_message_id: str) -> str:
    """Return the prefix of a message's routes; the route that sends it adds `/send`."""
    return f"/sms/v1/messageContact/{quote(upstream_message_id, safe='')}"
