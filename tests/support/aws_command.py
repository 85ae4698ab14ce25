"""A stand-in for the AWS CLI: `python -m tests.support.aws_command SERVICE OPERATION …`.

It takes the options that AWS's own model of the operation has, `file://` as a value, and the file
for what `lambda invoke` returns. Nothing else of the AWS CLI is here.
"""

import json
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore import xform_name


def call(service: str, operation: str, arguments: list[str]) -> dict[str, Any]:
    """Make the call, and return its response.

    Raises:
        KeyError: AWS has no such option.
    """
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    session = boto3.Session(region_name=options.pop("--region"))
    client: Any = session.client(service)  # type: ignore[call-overload]  # any service
    model = client.meta.service_model
    [name] = [it for it in model.operation_names if xform_name(it, "-") == operation]
    members = model.operation_model(name).input_shape.members
    by_option = {f"--{xform_name(member, '-')}": member for member in members}
    parameters = {by_option[option]: _value(given) for option, given in options.items()}
    response: dict[str, Any] = getattr(client, xform_name(name))(**parameters)
    return response


def _value(given: str) -> str:
    return Path(given.removeprefix("file://")).read_text() if given.startswith("file://") else given


def main() -> None:
    """Print the response, and write the payload of an invocation into its file."""
    service, operation, *arguments = sys.argv[1:]
    payload_file = arguments.pop() if operation == "invoke" else None
    response = call(service, operation, arguments)
    del response["ResponseMetadata"]
    if payload_file:
        Path(payload_file).write_bytes(response.pop("Payload").read())
    sys.stdout.write(f"{json.dumps(response)}\n")


if __name__ == "__main__":
    main()
