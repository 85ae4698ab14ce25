"""Metrics as the functions print them: CloudWatch's embedded metric format."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any


def documents(output: str) -> Iterator[dict[str, Any]]:
    """Each document of metrics in what was printed."""
    for line in output.splitlines():
        if '"_aws"' in line:
            yield json.loads(line)


def metrics(output: str) -> Mapping[str, list[float]]:
    """All values of each metric in what was printed."""
    found: dict[str, list[float]] = defaultdict(list)
    for document in documents(output):
        for directive in document["_aws"]["CloudWatchMetrics"]:
            for metric in directive["Metrics"]:
                value = document[metric["Name"]]
                found[metric["Name"]] += value if isinstance(value, list) else [value]
    return found
