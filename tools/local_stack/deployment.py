"""Deploys the built template to MiniStack, as `sam deploy` deploys it to AWS."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tools.local_stack.aws import Clients
from tools.local_stack.build import BUCKET, Artefacts
from tools.local_stack.polling import wait_for

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

STACK_NAME = "smsrelay-local"
TEMPLATE_KEY = "template.json"
API_ID = "smsrelay"
"""A constant id, so that the API's URL is the same in each run on the same port."""
DEPLOY_SECONDS = 60


class DeploymentError(Exception):
    """CloudFormation could not create the stack; the message contains its reasons."""


def deploy(clients: Clients, artefacts: Artefacts, parameters: Mapping[str, str]) -> dict[str, str]:
    """Create the stack, and return its outputs.

    Raises:
        DeploymentError: it could not be created.
    """
    clients.s3.create_bucket(Bucket=BUCKET)
    for key, package in artefacts.packages.items():
        clients.s3.put_object(Bucket=BUCKET, Key=key, Body=package)
    # A template in the call itself may have at most 51,200 bytes.
    templates = artefacts.nested | {TEMPLATE_KEY: artefacts.template}
    for key, template in templates.items():
        body = json.dumps(template).encode()
        clients.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    clients.cloudformation.create_stack(
        StackName=STACK_NAME,
        TemplateURL=f"https://s3.amazonaws.com/{BUCKET}/{TEMPLATE_KEY}",
        Capabilities=["CAPABILITY_IAM"],
        Tags=[{"Key": "ms-custom-id", "Value": API_ID}],  # MiniStack uses this tag as the API's id
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()
        ],
    )
    stack = wait_for(
        lambda: _settled(clients), what=f"the creation of {STACK_NAME}", seconds=DEPLOY_SECONDS
    )
    if stack["StackStatus"] != "CREATE_COMPLETE":
        raise DeploymentError(f"{stack['StackStatus']}:\n{_failures(clients)}")
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def function_names(clients: Clients) -> dict[str, str]:
    """Return the functions' physical names by their names in the template."""
    resources = clients.cloudformation.describe_stack_resources(StackName=STACK_NAME)
    return {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for resource in resources["StackResources"]
        if resource["ResourceType"] == "AWS::Lambda::Function"
    }


def _settled(clients: Clients) -> "StackTypeDef | None":
    (stack,) = clients.cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"]
    return None if stack["StackStatus"].endswith("_IN_PROGRESS") else stack


def _failures(clients: Clients) -> str:
    events = clients.cloudformation.describe_stack_events(StackName=STACK_NAME)["StackEvents"]
    return "\n".join(
        f"  {event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
        for event in reversed(events)
        if event["ResourceStatus"].endswith("_FAILED")
    )
