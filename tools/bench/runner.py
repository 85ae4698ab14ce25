"""Runs each program against the stub in its own process, and returns the measurements."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tools.bench import aws_stub
from tools.bench.aws_stub import Stub
from tools.bench.compared_programs import Program
from tools.local_stack import ROOT

MEASURED_PROCESS: Final = ROOT / "tools/bench/measured_process.py"
TIMEOUT_SECONDS: Final = 300.0
REGION: Final = "eu-central-1"
AREAS: Final = (212, 312, 415)

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Measurement:
    """What one process took: seconds of wall time, and of CPU time of all its threads."""

    init_cpu: float
    modules: int
    walls: Sequence[float]
    cpus: Sequence[float]
    peak_mb: float

    @property
    def cold_cpu(self) -> float:
        """CPU time of the init phase and the first call."""
        return self.init_cpu + self.cpus[0]


def environment(stub: Stub) -> dict[str, str]:
    """Return the variables that Lambda and template.yaml give each function."""
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "PYTHONDONTWRITEBYTECODE": "1",  # a function can't write to its code's folder
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "LAMBDA_TASK_ROOT": "/var/task",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
        "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_SESSION_TOKEN": "testing",
        "AWS_ENDPOINT_URL": stub.url,
        "TABLE_NAME": "ledger",
        "QUEUE_URL": f"{stub.url}/123456789012/queue",
        "DEAD_LETTER_QUEUE_URL": f"{stub.url}/123456789012/dead-letters",
        "TOKEN_SECRET_ARN": f"arn:aws:secretsmanager:{REGION}:123456789012:secret:token",
        "REST_BASE_URL": "",
        "COUNTRY_CODES": "",
        "UPSTREAM_HOSTS": "http://127.0.0.1",
        "DEFAULT_CLIENT": "internal",
        "QUEUE_SENDER_ARNS": "arn:aws:sns:us-east-1:123456789012:orders",  # of the sample
        "RETENTION_DAYS": "90",
        "MAX_ATTEMPTS": "12",
        "MAX_AGE_HOURS": "24",
        "UPSTREAM_TIMEOUT_SECONDS": "45",
        "CONCURRENT_SENDS": "10",
        "DELIVERY_POLLING": "all",
        "RECIPIENT_RESULTS": "off",
        "POWERTOOLS_SERVICE_NAME": "smsrelay",
        "POWERTOOLS_METRICS_NAMESPACE": "smsrelay",
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "PYDANTIC_DISABLE_PLUGINS": "1",
    }


@dataclass(frozen=True)
class Bench:
    """A running stub, and the processors: the last one runs the programs, the others the stub."""

    stub: Stub
    processors: Sequence[int]

    def run(self, program: Program, event: Event, calls: int) -> Measurement:
        """Import a program in a new process, and call it `calls` times."""
        order = {
            "paths": [str(path) for path in program.paths],
            "event": event,
            "calls": calls,
            "cpu": self.processors[-1],
        }
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(order, file)
            file.flush()
            done = subprocess.run(  # noqa: S603 - the programs of this folder
                [sys.executable, "-S", "-s", "-P", str(MEASURED_PROCESS), file.name],
                env=environment(self.stub),
                cwd=tempfile.gettempdir(),
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"{program.name}, {program.function}: {done.stderr[-3000:]}")
        return Measurement(**json.loads(done.stdout))

    def calls_of_a_warm_request(
        self, program: Program, event: Event, calls: int
    ) -> Mapping[str, float]:
        """Count the calls of each operation, as the difference between two runs."""
        counts = []
        for number in (1, 1 + calls):
            self.stub.control(reset=True)
            self.run(program, event, number)
            counts.append(self.stub.calls())
        return {name: (counts[1][name] - counts[0][name]) / calls for name in counts[1]}


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """Start the stub, and stop it when the block ends."""
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, processors[:-1] or processors)
    with aws_stub.running() as stub:
        os.sched_setaffinity(0, processors)
        yield Bench(stub, processors)


def sample_event(name: str) -> dict[str, Any]:
    """Load an event of events/."""
    event: dict[str, Any] = json.loads((ROOT / "events" / name).read_text())
    return event


def post(recipients: int) -> Event:
    """Return the event of a message that is posted to so many fictional numbers."""
    event = sample_event("api-post-message.json")
    body = json.loads(event["body"])
    body["to"] = [
        f"+1{AREAS[number // 100]}55501{number % 100:02d}" for number in range(recipients)
    ]
    return event | {"body": json.dumps(body)}


def batch(messages: int) -> Event:
    """Return a batch of queue messages with one recipient each."""
    record = sample_event("sqs-batch.json")["Records"][0]
    body = {"message": "MzA6Nzg6MA", "to": ["+12125550100"], "text": "Your order is on its way."}
    records = [
        record | {"messageId": f"message-{place}", "body": json.dumps(body)}
        for place in range(messages)
    ]
    return {"Records": records}
