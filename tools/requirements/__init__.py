"""The locked requirements, and what is generated from them."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
