"""What a deployment sets: one field for each environment variable of the template."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from smsrelay.request import MESSAGE_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The environment variables, by their names in lower case."""

    table_name: str
    queue_url: str
    dead_letter_queue_url: str
    token_secret_arn: str
    rest_base_url: str
    """Base URL of the tenant's REST API; empty means that the token secret knows it."""
    default_client: str
    message_catalogue: str
    """A JSON object of names and the message ids they stand for."""
    retention_days: int
    max_attempts: int
    max_age_hours: float
    upstream_timeout_seconds: float
    concurrent_sends: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises:
            KeyError: a variable is missing.
            ValueError: a number is none.
        """
        return cls(
            **{field.name: field.type(environment[field.name.upper()]) for field in fields(cls)}  # type: ignore[operator] # the annotations are the types themselves
        )

    @property
    def catalogue(self) -> dict[str, str]:
        """The message catalogue.

        Raises:
            ValueError: it is not a JSON object of strings.
        """
        catalogue = json.loads(self.message_catalogue or "{}")
        if not isinstance(catalogue, dict) or not all(
            isinstance(word, str) and re.fullmatch(MESSAGE_ID, word)
            for entry in catalogue.items()
            for word in entry
        ):
            raise ValueError("MESSAGE_CATALOGUE must be a JSON object of names and message ids")
        return catalogue
