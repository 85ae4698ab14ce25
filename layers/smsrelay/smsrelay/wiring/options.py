"""Optional parts; they are imported only if the deployment has them."""

from functools import cache
from typing import TYPE_CHECKING

from smsrelay.adapters.boto_clients import BotoClients
from smsrelay.ports import CatalogueSource, Clock, Metrics, RecipientResults
from smsrelay.settings import Settings
from smsrelay.wiring.aws_timeouts import AWS_CONFIG

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_secretsmanager import SecretsManagerClient


def catalogue(
    aws: BotoClients, settings: Settings, metrics: Metrics, clock: Clock
) -> CatalogueSource | None:
    """Return the message catalogue, if the deployment has one. Its first use reads it."""
    if not settings.catalogue_parameter:
        return None
    from smsrelay.adapters.ssm_message_catalogue import SsmMessageCatalogue

    ssm = cache(lambda: aws.client("ssm", config=AWS_CONFIG))
    return SsmMessageCatalogue(
        ssm,
        settings.catalogue_parameter,
        metrics,
        clock,
        loopback_callbacks=settings.loopback_callbacks == "on",
    )


def recipient_results(
    settings: Settings, dynamodb: "DynamoDBClient", secrets: "SecretsManagerClient"
) -> RecipientResults | None:
    """Return the store of the recipients' delivery results, if the deployment has it."""
    if settings.recipient_results != "on":
        return None
    from smsrelay.adapters.dynamodb_recipient_results import DynamoDbRecipientResults

    return DynamoDbRecipientResults(
        dynamodb,
        settings.table_name,
        settings.retention_days,
        secrets,
        settings.recipient_key_secret,
    )
