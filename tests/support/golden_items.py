"""Stored items of the ledger: tests/golden/items, one file for each status and each defect."""

import json
from typing import Any

from tests.support.environment import Environment
from tests.support.template import ROOT

Item = dict[str, Any]

FOLDER = ROOT / "tests/golden/items"


def _items(pattern: str) -> dict[str, Item]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob(pattern))}


READABLE = _items("*.json")
"""What this version and later ones read. `unknown-attributes` has some that it does not use."""
UNREADABLE = _items("unreadable/*.json")
"""What a later version or a defect might store."""


def put(relay: Environment, *items: Item) -> None:
    for item in items:
        relay.client("dynamodb").put_item(TableName=relay.table, Item=item)


def put_unreadable_in(relay: Environment, partition: str) -> int:
    """Put each unreadable item into a partition of the sparse index; how many there are."""
    for name, item in UNREADABLE.items():
        put(relay, item | {"pk": {"S": f"MSG#{name}"}, "unfinished": {"S": partition}})
    return len(UNREADABLE)
