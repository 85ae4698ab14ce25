"""The local stack: deploys template.yaml to this machine, without Docker or an AWS account."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The root of the repository."""
