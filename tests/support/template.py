"""The project's own templates as data, the functions' variables, and what sam built."""

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[2]


@cache
def template() -> dict[str, Any]:
    return _parsed("template.yaml")


@cache
def monitoring() -> dict[str, Any]:
    """The nested stack with dashboard, alarms and saved queries."""
    return _parsed("monitoring.yaml")


def properties(resource: str) -> dict[str, Any]:
    """Properties of a resource in template.yaml."""
    found: dict[str, Any] = template()["Resources"][resource]["Properties"]
    return found


def alarm(name: str) -> dict[str, Any]:
    """Properties of an alarm in monitoring.yaml."""
    found: dict[str, Any] = monitoring()["Resources"][name]["Properties"]
    return found


STACK_NAME = "smsrelay-test"


def variables(
    *, table: str, queue_url: str, dead_letter_queue_url: str, token_secret: str, **others: str
) -> dict[str, str]:
    """The functions' environment variables for these parts; `others` are added or replace one.

    tests/template holds the names to the template and to the settings.
    """
    return {
        "TABLE_NAME": table,
        "QUEUE_URL": queue_url,
        "DEAD_LETTER_QUEUE_URL": dead_letter_queue_url,
        "TOKEN_SECRET_ARN": token_secret,
        "REST_BASE_URL": "",
        "DEFAULT_CLIENT": "internal",
        "RETENTION_DAYS": "90",
        "MAX_ATTEMPTS": "4",
        "MAX_AGE_HOURS": "24",
        "UPSTREAM_TIMEOUT_SECONDS": "2",
        "CONCURRENT_SENDS": "10",
        "DELIVERY_CALLS_PER_MINUTE": "0",
        "RECIPIENT_RESULTS": "off",
        "UPSTREAM_HOSTS": "http://127.0.0.1",
        "POWERTOOLS_SERVICE_NAME": STACK_NAME,
        "POWERTOOLS_METRICS_NAMESPACE": "smsrelay",
        **others,
    }


def run_built(
    script: str, *arguments: Path | str, environment: Mapping[str, str] | None = None
) -> str:
    """What a script prints that sees neither this folder nor the environment's packages."""
    result = subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "-B", "-I", "-S", "-c", script, *map(str, arguments)],
        env={"PATH": os.environ["PATH"], **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def _parsed(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml_parse((ROOT / name).read_text())
    return parsed
