"""`python -m tests.support.handler_process URL`: runs the real API handler in a separate process.

Each line of input is an order in JSON: the body to post, and the seconds by which the wall clock
jumps before. Each line of output is the response: the HTTP status and the body.
"""

import json
import os
import sys
import time
from types import SimpleNamespace
from unittest.mock import patch

from smsrelay.wiring import sending
from tests.support.environment import running, simulated_aws


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # the handlers log to standard output
    passed = 0.0
    clock = SimpleNamespace(time=lambda: time.time() + passed)
    with patch.object(sending, "time", clock), simulated_aws(), running(sys.argv[1]) as relay:
        for line in sys.stdin:
            order = json.loads(line)
            passed += order["jump"]
            answer = relay.post(order["body"])
            answers.write(json.dumps([answer.status, answer.body]) + "\n")


if __name__ == "__main__":
    main()
