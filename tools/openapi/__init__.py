"""Generates the OpenAPI document and other files from the API's models. Only these are shipped."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

Json = dict[str, Any]
