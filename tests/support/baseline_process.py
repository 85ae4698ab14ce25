"""`python -m tests.support.baseline_process APP`: runs a function in a separate process.

Each line of input is an event in JSON. Each line of output is the handler's result in JSON, or the
name of the exception that it raised.
"""

import importlib.util
import json
import os
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Context:
    """The parts of Lambda's context that a handler uses."""

    function_name = "function"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:function"

    def __init__(self) -> None:
        self.aws_request_id = str(uuid.uuid4())

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 28_000


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # the handlers log to standard output
    handler = _handler(Path(sys.argv[1]))
    for line in sys.stdin:
        answers.write(json.dumps(_answer(handler, json.loads(line))) + "\n")


def _handler(app: Path) -> Callable[[Mapping[str, Any], Context], Any]:
    spec = importlib.util.spec_from_file_location("app", app)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["app"] = module
    spec.loader.exec_module(module)
    handler: Callable[[Mapping[str, Any], Context], Any] = module.handler
    return handler


def _answer(handler: Callable[[Mapping[str, Any], Context], Any], event: Mapping[str, Any]) -> Any:
    try:
        return handler(event, Context())
    except Exception as error:  # noqa: BLE001 - every exception is reported
        return {"raised": type(error).__name__}


if __name__ == "__main__":
    main()
