"""Parts that a deployment chooses to have; where it doesn't, they are not even imported."""

from functools import cache
from typing import TYPE_CHECKING

from smsrelay.adapters.boto_clients import Aws
from smsrelay.ports import CatalogueSource, Clock, Counter, RecipientRows
from smsrelay.settings import Settings
from smsrelay.wiring.timeouts import STORING

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_secretsmanager import SecretsManagerClient


def catalogue(
    aws: Aws, settings: Settings, counter: Counter, clock: Clock
) -> CatalogueSource | None:
    """The message catalogue, if there is one; it is read at the first name that is posted."""
    if not settings.catalogue_parameter:
        return None
    from smsrelay.adapters.ssm_message_catalogue import StoredCatalogue

    ssm = cache(lambda: aws.client("ssm", config=STORING))
    return StoredCatalogue(ssm, settings.catalogue_parameter, counter, clock)


def recipients(
    settings: Settings, dynamodb: "DynamoDBClient", secrets: "SecretsManagerClient"
) -> RecipientRows | None:
    """How it ended for each recipient, if that is kept."""
    if settings.recipient_rows != "on":
        return None
    from smsrelay.adapters.dynamodb_recipient_results import StoredRecipients

    return StoredRecipients(
        dynamodb,
        settings.table_name,
        settings.retention_days,
        secrets,
        settings.recipient_key_secret,
    )
