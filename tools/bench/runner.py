"""Runs the programs against the stub, each in a process of its own, and hands back what it took."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from tools.bench import aws_stub
from tools.bench.aws_stub import Stub
from tools.bench.compared_programs import Program
from tools.local_stack import ROOT

CHILD: Final = ROOT / "tools/bench/measured_process.py"
REGION: Final = "eu-central-1"
LONGEST: Final = 300.0
"""Seconds that a process may take, under callgrind, too."""
AREAS: Final = (212, 312, 415)

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Taken:
    """What one process took. Seconds are of wall and of processor, all threads of the process."""

    init_wall: float
    init_cpu: float
    modules: int
    init_mb: float
    walls: Sequence[float]
    cpus: Sequence[float]
    peak_mb: float
    log_bytes: float
    """Of a warm call, standard output and error."""

    @property
    def cold_cpu(self) -> float:
        """Of init and the first answer."""
        return self.init_cpu + self.cpus[0]

    @property
    def cold_wall(self) -> float:
        """The same by the wall clock; the stub answers at once."""
        return self.init_wall + self.walls[0]


@dataclass(frozen=True)
class Bench:
    """Where the stub is, and how programs are run."""

    stub: Stub
    processors: Sequence[int]
    """Programs are bound to the last one; the stub has the others, if there are any."""

    def environment(self) -> Mapping[str, str]:
        """What Lambda and template.yaml give each function."""
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "TZ": ":UTC",
            "PYTHONDONTWRITEBYTECODE": "1",  # a function can't write where its code lies
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_FUNCTION_NAME": "bench",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
            "LAMBDA_TASK_ROOT": "/var/task",
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_SESSION_TOKEN": "testing",
            "AWS_ENDPOINT_URL": self.stub.url,
            "TABLE_NAME": "ledger",
            "QUEUE_URL": f"{self.stub.url}/123456789012/queue",
            "DEAD_LETTER_QUEUE_URL": f"{self.stub.url}/123456789012/dead-letters",
            "TOKEN_SECRET_ARN": f"arn:aws:secretsmanager:{REGION}:123456789012:secret:token",
            "REST_BASE_URL": "",
            "UPSTREAM_HOSTS": "http://127.0.0.1",
            "DEFAULT_CLIENT": "internal",
            "RETENTION_DAYS": "90",
            "MAX_ATTEMPTS": "12",
            "MAX_AGE_HOURS": "24",
            "UPSTREAM_TIMEOUT_SECONDS": "45",
            "CONCURRENT_SENDS": "10",
            "DELIVERY_CALLS_PER_MINUTE": "300",
            "RECIPIENT_RESULTS": "off",
            "POWERTOOLS_SERVICE_NAME": "smsrelay",
            "POWERTOOLS_METRICS_NAMESPACE": "smsrelay",
            "POWERTOOLS_LOG_LEVEL": "INFO",
            "PYDANTIC_DISABLE_PLUGINS": "1",
        }

    def run(
        self,
        program: Program,
        event: Event,
        calls: int,
        *,
        wrapper: Sequence[str] = (),
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Taken:
        """Import a program, and call it `calls` times."""
        order = {
            "paths": [str(path) for path in program.paths],
            "event": event,
            "calls": calls,
            "cpu": self.processors[-1],
        }
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(order, file)
            file.flush()
            command = [*wrapper, sys.executable, "-S", "-s", "-P", str(CHILD), file.name]
            done = subprocess.run(  # noqa: S603 - the programs of this folder
                command,
                env={**self.environment(), **variables},
                cwd=tempfile.gettempdir(),
                capture_output=True,
                text=True,
                timeout=LONGEST,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"{program.name}, {program.function}: {done.stderr[-3000:]}")
        return Taken(**json.loads(done.stdout))

    def counted(self, program: Program, event: Event, calls: int) -> Mapping[str, float]:
        """How often a warm call asks each service, by the difference of two runs."""
        counts = []
        for number in (1, 1 + calls):
            self.stub.control(reset=True)
            self.run(program, event, number)
            counts.append(self.stub.calls())
        names = counts[0].keys() | counts[1].keys()
        return {name: (counts[1].get(name, 0) - counts[0].get(name, 0)) / calls for name in names}


@contextlib.contextmanager
def bench() -> Iterator[Bench]:
    """Start the stub; it ends with the block."""
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, processors[:-1] or processors)
    with aws_stub.running() as running:
        os.sched_setaffinity(0, processors)
        yield Bench(running, processors)


def sample_event(name: str) -> dict[str, Any]:
    """An event of events/, as Lambda hands it over."""
    event: dict[str, Any] = json.loads((ROOT / "events" / name).read_text())
    return event


def post(recipients: int) -> Event:
    """A message posted to so many numbers."""
    event = sample_event("api-post-message.json")
    body = json.loads(event["body"])
    body["to"] = [
        f"+1{AREAS[number // 100]}55501{number % 100:02d}"  # 555-01xx belongs to nobody
        for number in range(recipients)
    ]
    return event | {"body": json.dumps(body)}


def batch(messages: int) -> Event:
    """A batch of queue messages, with one recipient each."""
    record = sample_event("sqs-batch.json")["Records"][0]
    body = {"message": "MzA6Nzg6MA", "to": ["+12125550100"], "text": "Your order is on its way."}
    records = [
        record | {"messageId": f"message-{place}", "body": json.dumps(body)}
        for place in range(messages)
    ]
    return {"Records": records}
