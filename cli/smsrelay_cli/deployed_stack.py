"""Finds the stack that a command works on."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from smsrelay.adapters.dynamodb_ledger import DynamoDbLedger
from smsrelay.adapters.sqs import SqsRetryQueue
from smsrelay_cli.exit_codes import CommandError, UsageError
from smsrelay_cli.terminal import print_notice

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef
    from mypy_boto3_sqs import SQSClient

STACK_VARIABLE = "SMSRELAY_STACK"
STACK_FILE = Path(__file__).parents[2] / ".local" / "stack.json"
"""The file that `make up` writes."""
DEFAULTS = {
    "RetentionDays": "90",
    "DeliveryPolling": "all",
    "YearlyApiCalls": "2000000",
    "RestBaseUrl": "",
    "UpstreamHosts": "*.marketingcloudapis.com",
    "MaxConcurrentSends": "50",
}
"""The template's defaults, for the local stack and stacks that lack a parameter."""
_OUTPUTS = ("TableName", "QueueUrl", "DeadLetterQueueUrl")
_PARAMETERS = ("RetentionDays", "DefaultClient")
# Short time-outs, because an operator waits for the result.
_AWS = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard"})


@dataclass(frozen=True)
class DeployedStack:
    """One relay."""

    ledger: DynamoDbLedger
    queue: SqsRetryQueue
    sqs: "SQSClient"
    queue_url: str
    dead_letter_queue_url: str
    table: str = ""
    name: str = ""
    """Name of the CloudFormation stack; empty for the local stack."""
    version: str = ""
    """Version of the deployed smsrelay; empty if it is older than the output `Version`."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    default_client: str = ""
    """The client of queue messages without a client."""
    polls_deliveries: bool = True
    yearly_api_calls: int = 0
    """The API calls per year that the contract includes; 0 means unlimited."""
    api_id: str = ""
    stage: str = ""
    webhook_secret_prefix: str = ""
    """Prefix of the names of webhook secrets; empty if the relay accepts no webhooks."""
    catalogue_parameter: str = ""
    """The SSM parameter with the message catalogue; empty if the relay has no catalogue."""
    callback_secret_prefix: str = ""
    """Prefix of the names of callback secrets; empty if the relay posts no callbacks."""
    credentials_secret: str = ""
    """The secret with the client credentials; empty if the relay does not renew its token."""
    token_secret: str = ""
    """The secret with the access token."""
    token_renewer: str = ""
    """The function that renews the access token; empty if the relay does not renew its token."""
    key_arn: str = ""
    """The customer managed KMS key of the stack; empty if the stack has no such key."""
    session: boto3.Session = field(default_factory=boto3.Session)
    endpoint_url: str | None = None

    @property
    def is_local(self) -> bool:
        return self.endpoint_url is not None

    def client(self, service: str, config: Config = _AWS) -> Any:
        """Create a boto client for another AWS service."""
        factory: Any = self.session.client  # its types require a literal service name
        return factory(service, config=config, endpoint_url=self.endpoint_url)


def find_stack(options: Any, environment: Mapping[str, str] = os.environ) -> DeployedStack:
    """Find the relay of the options, or else of `SMSRELAY_STACK`.

    Raises:
        UsageError: the options name no relay, or two.
        CommandError: the stack does not exist, or is not a relay.
    """
    local = options.local or options.stack_file is not None
    if local:
        if options.stack_name or options.region or options.profile:
            raise UsageError("--local can't be combined with --stack-name, --region or --profile")
        return _local(options.stack_file or STACK_FILE)
    name = options.stack_name or environment.get(STACK_VARIABLE)
    if not name:
        raise UsageError(f"no relay: pass --stack-name NAME or --local, or set {STACK_VARIABLE}")
    return _deployed(name, boto3.Session(profile_name=options.profile, region_name=options.region))


def _local(file: Path) -> DeployedStack:
    try:
        stack = json.loads(file.read_text())
    except FileNotFoundError:
        raise CommandError(
            f"the local stack is not running ({file} is missing): `make up` starts it"
        ) from None
    # Ignore the operator's own profile: the local stack must never get its credentials.
    core = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
        }
    )
    core.set_default_client_config(Config(proxies={}))
    session = boto3.Session(
        botocore_session=core,
        region_name=stack["region"],
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the local stack accepts any # nosec B106
    )
    *_, api_id, stage = stack["api_url"].split("/")
    return _target(
        session,
        {
            "TableName": stack["table"],
            "QueueUrl": stack["queue_url"],
            "DeadLetterQueueUrl": stack["dead_letter_queue_url"],
            "RestApiId": api_id,
            "StageName": stage,
            "WebhookSecretPrefix": stack.get("webhook_secret_prefix", ""),
            "CatalogueParameter": stack.get("catalogue_parameter", ""),
            "CallbackSecretPrefix": stack.get("callback_secret_prefix", ""),
            "CredentialsSecretArn": stack.get("credentials_secret", ""),
            "TokenSecretArn": stack.get("token_secret", ""),
            "TokenRenewerFunctionName": stack.get("token_renewer", ""),
            "Version": stack.get("version", ""),
        },
        {"DefaultClient": stack["default_client"], "UpstreamHosts": "http://127.0.0.1"},
        endpoint_url=stack["aws_endpoint_url"],
    )


def describe_stack(session: boto3.Session, name: str) -> "StackTypeDef":
    """Describe a stack of CloudFormation."""
    cloudformation = session.client("cloudformation", config=_AWS)
    return cloudformation.describe_stacks(StackName=name)["Stacks"][0]


def _deployed(name: str, session: boto3.Session) -> DeployedStack:
    try:
        stack = describe_stack(session, name)
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
        raise CommandError(
            f"there is no stack {name} in {session.region_name}: "
            "check --stack-name, --region and --profile"
        ) from None
    outputs = {entry["OutputKey"]: entry["OutputValue"] for entry in stack.get("Outputs", [])}
    parameters = {
        entry["ParameterKey"]: entry["ParameterValue"] for entry in stack.get("Parameters", [])
    }
    missing = [
        *(f"the output {output}" for output in _OUTPUTS if output not in outputs),
        *(f"the parameter {entry}" for entry in _PARAMETERS if entry not in parameters),
    ]
    if missing:
        raise CommandError(f"the stack {name} is not an smsrelay stack: it lacks {missing[0]}")
    return _target(session, outputs, parameters, name=stack["StackName"])


def _target(
    session: boto3.Session,
    outputs: Mapping[str, str],
    parameters: Mapping[str, str],
    *,
    name: str = "",
    endpoint_url: str | None = None,
) -> DeployedStack:
    sqs = session.client("sqs", config=_AWS, endpoint_url=endpoint_url)
    dynamodb = session.client("dynamodb", config=_AWS, endpoint_url=endpoint_url)
    parameters = DEFAULTS | dict(parameters)
    retention_days = int(parameters["RetentionDays"])
    return DeployedStack(
        ledger=DynamoDbLedger(
            dynamodb,
            outputs["TableName"],
            retention_days,
            lambda error: print_notice(str(error)),
        ),
        queue=SqsRetryQueue(sqs, outputs["QueueUrl"]),
        sqs=sqs,
        queue_url=outputs["QueueUrl"],
        dead_letter_queue_url=outputs["DeadLetterQueueUrl"],
        table=outputs["TableName"],
        name=name,
        version=outputs.get("Version", ""),
        parameters=parameters,
        default_client=parameters["DefaultClient"],
        polls_deliveries=parameters["DeliveryPolling"] == "all",
        yearly_api_calls=int(parameters["YearlyApiCalls"]),
        api_id=outputs.get("RestApiId", ""),
        stage=outputs.get("StageName", ""),
        webhook_secret_prefix=outputs.get("WebhookSecretPrefix", ""),
        callback_secret_prefix=outputs.get("CallbackSecretPrefix", ""),
        catalogue_parameter=outputs.get("CatalogueParameter", ""),
        credentials_secret=outputs.get("CredentialsSecretArn", ""),
        token_secret=outputs.get("TokenSecretArn", ""),
        token_renewer=outputs.get("TokenRenewerFunctionName", ""),
        key_arn=outputs.get("KeyArn", ""),
        session=session,
        endpoint_url=endpoint_url,
    )
