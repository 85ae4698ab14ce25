"""What is shipped, and what it is made with: licences, and the software bill of materials."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
