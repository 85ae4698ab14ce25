"""Checks the AWS calls of each function against the permissions of its role in template.yaml.

It watches every handler that a test runs: a call that the role does not allow fails the test.
"""

import ast
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import boto3
from botocore.client import BaseClient

from tests.support.aws_calls import intercepted
from tests.support.template import template

# The IAM actions of operations whose action has another name.
_ACTIONS = {
    ("dynamodb", "TransactWriteItems"): (),  # see _IN_TRANSACTIONS
    ("lambda", "Invoke"): ("InvokeFunction",),
    ("sqs", "ChangeMessageVisibilityBatch"): ("ChangeMessageVisibility",),
    ("sqs", "DeleteMessageBatch"): ("DeleteMessage",),
    ("sqs", "SendMessageBatch"): ("SendMessage",),
}
_IN_TRANSACTIONS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
# The resources' names in template.yaml, by the variables with the real names.
_VARIABLES = {
    "TABLE_NAME": "Ledger",
    "QUEUE_URL": "Queue",
    "DEAD_LETTER_QUEUE_URL": "DeadLetterQueue",
    "TOKEN_SECRET_ARN": "TokenSecret",
    "CREDENTIALS_SECRET_ARN": "CredentialsSecret",
    "TOKEN_FUNCTION": "TokenRenewerFunction",
    "RECIPIENT_KEY_SECRET": "RecipientKey",
    "CATALOGUE_PARAMETER": "Catalogue",
    "CALLBACK_QUEUE_URL": "CallbackQueue",
    "EVENT_BUS": "EventBus",
}
WEBHOOK_SECRET_PREFIX: Final = "WebhookSecretPrefix"
"""All webhook secrets: the command creates them after the stack, so the template lacks them."""
CALLBACK_SECRET_PREFIX: Final = "CallbackSecretPrefix"
"""All secrets that sign callbacks; the template lacks them, too."""
# Resources that the template does not create, by the end of their ARN.
_NO_RESOURCES = {
    ":secret:${AWS::StackName}/webhooks/*": WEBHOOK_SECRET_PREFIX,
    ":secret:${AWS::StackName}/callbacks/*": CALLBACK_SECRET_PREFIX,
    ":parameter/${AWS::StackName}/catalogue": "Catalogue",
    ":event-bus/${EventBus}": "EventBus",
}
_MADE_LATER = {
    "WEBHOOK_SECRET_PREFIX": WEBHOOK_SECRET_PREFIX,
    "CALLBACK_SECRET_PREFIX": CALLBACK_SECRET_PREFIX,
}
_KMS = {  # the KMS actions that a call needs if its resource is encrypted with a key
    "dynamodb": {"Decrypt"},
    "secretsmanager:GetSecretValue": {"Decrypt"},
    "secretsmanager:PutSecretValue": {"Decrypt", "GenerateDataKey"},
    "sqs:SendMessage": {"Decrypt", "GenerateDataKey"},
    "sqs:ReceiveMessage": {"Decrypt"},
}


class Permission(NamedTuple):
    """An action on a resource, named as in the template; for KMS, the service that uses the key."""

    action: str
    resource: str


class Call(NamedTuple):
    """A call that was made, with AWS's name of the operation."""

    service: str
    operation: str
    needs: frozenset[Permission]


class _Watch:
    """Records the calls of the function that is at work; its threads count as the function."""

    def __init__(self) -> None:
        self.at_work: list[str] = []
        self.made: dict[str, set[Call]] = defaultdict(set)

    def note(self, client: BaseClient, operation: str, parameters: Mapping[str, Any]) -> None:
        if self.at_work:
            service = client.meta.service_model.service_name
            needs = frozenset(needed(service, operation, parameters))
            self.made[self.at_work[-1]].add(Call(service, operation, needs))


_watch = _Watch()


@contextmanager
def watching() -> Iterator[None]:
    """Watch the AWS calls of a session."""

    def noted(client: BaseClient, operation: str, parameters: Any, call: Callable[[], Any]) -> Any:
        _watch.note(client, operation, parameters)
        return call()

    with intercepted(noted):
        yield


@contextmanager
def calls_of(who: str) -> Iterator[set[Call]]:
    """Record the calls that `who` makes in this block."""
    # A list and not a saved previous value, because invocations may overlap.
    _watch.at_work.append(who)
    kept, _watch.made[who] = _watch.made[who], set()
    try:
        yield _watch.made[who]
    finally:
        _watch.at_work.remove(who)
        _watch.made[who] = _watch.made[who] | kept


def watched[**P, R](function: str, handler: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function's handler, so that a call which its role does not allow fails the test."""

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with calls_of(function) as calls:
            result = handler(*args, **kwargs)
        denied = {permission for call in calls for permission in call.needs} - granted(function)
        assert not denied, f"the role of {function} lacks {sorted(denied)}"
        return result

    return run


@contextmanager
def noting() -> Iterator[Mapping[str, set[Call]]]:
    """Record all calls in this block, by caller."""
    made: dict[str, set[Call]] = defaultdict(set)
    with patch.object(_watch, "made", made):
        yield made


def needed(service: str, operation: str, parameters: Mapping[str, Any]) -> set[Permission]:
    """Return the permissions that a call needs."""
    if operation == "TransactWriteItems":
        return {
            Permission(f"dynamodb:{_IN_TRANSACTIONS[kind]}", _name(what["TableName"]))
            for item in parameters["TransactItems"]
            for kind, what in item.items()
        }
    actions = _ACTIONS.get((service, operation), (operation,))
    return {
        Permission(f"{service}:{action}", resource)
        for action in actions
        for resource in _resources(parameters)
    }


def _resources(parameters: Mapping[str, Any]) -> Iterator[str]:
    if "Entries" in parameters and "QueueUrl" not in parameters:  # events of a bus
        yield from {_name(entry["EventBusName"]) for entry in parameters["Entries"]}
        return
    if "RequestItems" in parameters:
        yield from map(_name, parameters["RequestItems"])
        return
    names = [
        "TableName",
        "QueueUrl",
        "SecretId",
        "FunctionName",
        "StackName",
        "Name",
        "RoleName",
        "UserName",
    ]
    if not parameters.keys() & set(names):  # calls for the account, or for alarms by prefix
        yield "*"
        return
    [name] = [_name(parameters[key]) for key in names if key in parameters]
    yield f"{name}/index/{parameters['IndexName']}" if "IndexName" in parameters else name


def _name(real: str) -> str:
    """Return a resource's name in the template, or its real name if it is not the relay's."""
    real_name = real.removesuffix("-away")  # a test's name for an unavailable queue
    for variable, name in _VARIABLES.items():
        if real_name and real_name == os.environ.get(variable):
            return name
    for variable, name in _MADE_LATER.items():
        prefix = os.environ.get(variable)
        if prefix and real_name.startswith(prefix):
            return name
    return real


def keys_needed(permissions: set[Permission]) -> set[Permission]:
    """Return the KMS permissions that these need if all resources are encrypted with a key."""
    return {
        Permission(f"kms:{verb}", service)
        for action, _ in permissions
        for service in [action.partition(":")[0]]
        for verb in _KMS.get(action, _KMS.get(service, set()))
    }


@cache
def granted(function: str) -> frozenset[Permission]:
    """Return the permissions of a function's role, except those for KMS."""
    return frozenset(
        Permission(action, resource)
        for statement in statements(function)
        for action in listed(statement["Action"])
        for resource in map(resource_name, listed(statement["Resource"]))
        if not action.startswith("kms:")
    )


def keys_granted(function: str) -> set[Permission]:
    """Return the KMS permissions of a function's role with a customer's key."""
    found = set()
    for statement in statements(function):
        for action in listed(statement["Action"]):
            if action.startswith("kms:"):
                assert listed(statement["Resource"]) == [{"Fn::GetAtt": ["Key", "Arn"]}]
                [(operator, condition)] = statement["Condition"].items()
                assert operator == "StringEquals"
                for via in listed(condition["kms:ViaService"]):
                    host = re.fullmatch(r"(\w+)\.\$\{AWS::Region\}\.amazonaws\.com", via["Fn::Sub"])
                    assert host is not None
                    found.add(Permission(action, host[1]))
    return found


def statements(function: str) -> list[dict[str, Any]]:
    """Return the statements of a function's role with all options on."""
    resources = template()["Resources"]
    role, attribute = resources[function]["Properties"]["Role"]["Fn::GetAtt"]
    assert attribute == "Arn"
    assert "ManagedPolicyArns" not in resources[role]["Properties"]
    return [
        statement["Fn::If"][1] if "Fn::If" in statement else statement
        for policy in resources[role]["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def resource_name(resource: Any) -> str:
    """Return the template's name of a policy's resource, such as `Ledger/index/tokens`."""
    match resource:
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), "Arn"]}:
            return name
        case {"Fn::GetAtt": [str(name), "StreamArn"]}:
            return f"{name}/stream"
        case {"Fn::Sub": str(text)}:
            for end, name in _NO_RESOURCES.items():
                if text.endswith(end):
                    return name
            found = re.fullmatch(r"\$\{(\w+)\.Arn\}(/[\w/]+)", text)
            assert found is not None, text
            return f"{found[1]}{found[2]}"
    assert resource == "*", resource
    return "*"


def platform(function: str) -> set[Permission]:
    """Return the permissions with which Lambda logs, traces and receives for a function."""
    settings = template()["Globals"]["Function"] | template()["Resources"][function]["Properties"]
    logs = settings["LoggingConfig"]["LogGroup"]["Ref"]
    found = {Permission(f"logs:{verb}", logs) for verb in ("CreateLogStream", "PutLogEvents")}
    if settings["Tracing"] == "Active":
        found |= {
            Permission(f"xray:{it}", "*") for it in ("PutTraceSegments", "PutTelemetryRecords")
        }
    for event in settings.get("Events", {}).values():
        if event["Type"] == "SQS":
            queue = resource_name(event["Properties"]["Queue"])
            verbs = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
            found |= {Permission(f"sqs:{verb}", queue) for verb in verbs}
        if event["Type"] == "DynamoDB":
            stream = resource_name(event["Properties"]["Stream"])
            reading = ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
            found |= {Permission(f"dynamodb:{verb}", stream) for verb in reading}
            given_up = event["Properties"]["DestinationConfig"]["OnFailure"]["Destination"]
            found.add(Permission("sqs:SendMessage", resource_name(given_up)))
    return found


def operations_in(folder: Path, *services: str) -> set[str]:
    """Return the AWS operations that the code of a folder uses, with AWS's names.

    A module's services are those whose types it imports, and `services`.
    """
    found = set()
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text())
        names = {
            method: operation
            for service in {*services, *_imported(tree)}
            for method, operation in _methods(service).items()
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in names:
                found.add(names[node.attr])
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("get_paginator"):
                paginated = ast.literal_eval(node.args[0])
                found |= {names[paginated]} if paginated in names else set()
    return found


def services_in(folder: Path) -> set[str]:
    """Return the AWS services whose types the modules of a folder import."""
    return {
        service
        for path in folder.glob("*.py")
        for service in _imported(ast.parse(path.read_text()))
    }


def _imported(tree: ast.Module) -> set[str]:
    return {
        node.module.removeprefix("mypy_boto3_").partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        if node.module and node.module.startswith("mypy_boto3_")
    }


@cache
def _methods(service: str) -> Mapping[str, str]:
    factory: Any = boto3.client  # its types need the service's name as a literal
    methods: Mapping[str, str] = factory(
        service, region_name="us-east-1"
    ).meta.method_to_api_mapping
    return methods


def listed(value: Any) -> list[Any]:
    """Return a policy's value as a list."""
    return value if isinstance(value, list) else [value]
