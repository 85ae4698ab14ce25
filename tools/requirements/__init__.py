"""The locked requirements, and the modules that are generated from them."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
