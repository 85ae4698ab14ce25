"""What a deployment sets: one field for each environment variable of the template."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Self


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
    retention_days: int
    max_attempts: int
    max_age_hours: float
    upstream_timeout_seconds: float
    concurrent_sends: int
    delivery_polling: str
    """all: accepted sends await a report; none: accepted is their last status."""
    recipient_results: str
    """on: how it ended is kept for each recipient, by a hash of the number."""
    country_codes: str
    """The calling codes that messages may be sent to, with commas; empty: all."""
    upstream_hosts: str
    """The hosts that may be called, with commas: `smsrelay.security.allowed_hosts`."""
    token_function: str = ""
    """The function that renews the token, for those who may ask it; empty: nobody does."""
    credentials_secret_arn: str = ""
    """The client credentials, for that function alone."""
    webhook_secret_prefix: str = ""
    """What the names of the webhooks' secrets begin with, for the function that takes them."""
    recipient_key_secret: str = ""
    """The key of that hash, for the functions that need it."""
    yearly_api_calls: int = 0
    """The API calls of the contract's year, for the function that polls; 0: unlimited."""
    event_bus: str = ""
    """The bus that every change is told to; empty: none."""
    callback_queue_url: str = ""
    """The queue of callbacks, for the functions that fill and empty it; empty: there are none."""
    callback_secret_prefix: str = ""
    """What the names of the secrets begin with that callbacks are signed with."""
    client_recipients_per_minute: int = 0
    """Recipients a minute of a client that has no usage plan, where there are such; 0: no limit."""
    queue_sender_arns: str = ""
    """The topics and rules that may post into the queue, with commas, for the queue worker."""
    catalogue_parameter: str = ""
    """The SSM parameter with the message catalogue, for who takes messages; empty: none."""
    loopback_callbacks: str = ""
    """on: callbacks may go to http://127.0.0.1. Only the local stack sets it, never a template."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings; one with a default is not given to every function.

        Raises:
            KeyError: another variable is missing.
            ValueError: a number is none.
        """
        return cls(
            **{
                field.name: field.type(environment[field.name.upper()])  # type: ignore[operator] # the annotations are the types themselves
                for field in fields(cls)
                if field.default is MISSING or field.name.upper() in environment
            }
        )
