"""The settings of a deployment: one field for each environment variable of the template."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    table_name: str
    queue_url: str
    dead_letter_queue_url: str
    token_secret_arn: str
    rest_base_url: str
    """The base URL of the tenant's REST API; empty: the token secret contains it."""
    default_client: str
    retention_days: int
    max_attempts: int
    max_age_hours: float
    upstream_timeout_seconds: float
    concurrent_sends: int
    delivery_polling: str
    """all: the relay polls the delivery of accepted sends; none: it does not."""
    recipient_results: str
    """on: the delivery result of each recipient is stored by a hash of the number."""
    country_codes: str
    """The calling codes that messages may be sent to, separated by commas; empty: all."""
    upstream_hosts: str
    """The hosts that the relay may call: `smsrelay.security.allowed_hosts`."""
    token_function: str = ""
    """The function that renews the token; empty: this function must not invoke it."""
    credentials_secret_arn: str = ""
    """The secret with the client credentials, only in the function that renews the token."""
    webhook_secret_prefix: str = ""
    """The prefix of the names of webhook secrets."""
    recipient_key_secret: str = ""
    """The secret with the key of the numbers' hashes."""
    yearly_api_calls: int = 0
    """The API calls a year of the contract; 0: unlimited."""
    event_bus: str = ""
    """The bus for status events; empty: no bus."""
    callback_queue_url: str = ""
    """The queue of callbacks; empty: no callbacks."""
    callback_secret_prefix: str = ""
    """The prefix of the names of the secrets that sign callbacks."""
    client_recipients_per_minute: int = 0
    """The recipients a minute of a client without a usage plan; 0: no limit."""
    queue_sender_arns: str = ""
    """The ARNs of topics and rules that may post into the queue, separated by commas."""
    catalogue_parameter: str = ""
    """The SSM parameter with the message catalogue; empty: no catalogue."""
    loopback_callbacks: str = ""
    """on: callbacks may go to http://127.0.0.1. Only the local stack sets it, never a template."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings. Those with a default are set only for functions that need them.

        Raises:
            KeyError: a variable without a default is missing.
            ValueError: a number is not valid.
        """
        return cls(
            **{
                field.name: field.type(environment[field.name.upper()])  # type: ignore[operator] # the annotations are the types themselves
                for field in fields(cls)
                if field.default is MISSING or field.name.upper() in environment
            }
        )
