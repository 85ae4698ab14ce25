"""A replacement for the AWS CLI: `python -m tests.support.aws_command SERVICE OPERATION …`.

It supports the options in AWS's model of the operation, `file://` values, and the output file of
`lambda invoke`, but no other feature of the AWS CLI.
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
    parameters = {by_option[option]: _value(text) for option, text in options.items()}
    response: dict[str, Any] = getattr(client, xform_name(name))(**parameters)
    return response


def _value(text: str) -> str:
    return Path(text.removeprefix("file://")).read_text() if text.startswith("file://") else text


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
