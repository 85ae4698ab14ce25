"""What the HTTP API promises, written from its models: never shipped, only what it writes is."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

Json = dict[str, Any]
