"""Starts the two servers of a stack, and waits until they are ready."""

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tools.local_stack import processes
from tools.local_stack.polling import wait_for

DENIED = "denied by IAM:"
"""Marks a line of MiniStack's log that names the action, the resource and the caller."""
READY_SECONDS = 30
PORT_ATTEMPTS = 5

# Ignores proxies in the environment, because both servers are on this machine.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServerEndedError(Exception):
    """A server ended before it was ready."""


class PortError(Exception):
    """A requested port can't be used; the message says which and why."""


@dataclass(frozen=True)
class Server:
    """A server that is ready."""

    url: str
    process: subprocess.Popen[bytes]


@dataclass(frozen=True)
class Client:
    """The only client that gets tokens from the simulator, and their lifetime in seconds."""

    id: str
    secret: str = field(repr=False)
    token_seconds: int


def launch_simulator(
    folder: Path, data: Path, marker: str, client: Client, port: int = 0
) -> subprocess.Popen[bytes]:
    """Start the simulator of MobileConnect; port 0 chooses a free port."""
    command = [sys.executable, "-m", "tools.mobileconnect_simulator", "--port", str(port)]
    command += ["--ready-file", str(_ready_file(data)), "--client-id", client.id]
    command += ["--client-secret", client.secret, "--token-seconds", str(client.token_seconds)]
    command += ["--polls-per-status", "0"]  # the first poll finds the send delivered
    return processes.start(
        command, marker=marker, log=simulator_log(folder), environment={"PYTHONUNBUFFERED": "1"}
    )


def simulator_url(data: Path, process: subprocess.Popen[bytes]) -> str:
    """Wait until the simulator is ready, and return its URL."""

    def told() -> str | None:
        _must_live(process, "the simulator")
        ready = _ready_file(data)
        return ready.read_text().strip() if ready.exists() else None

    return wait_for(told, what="the start of the simulator", seconds=READY_SECONDS)


def start_emulator(folder: Path, data: Path, marker: str, fixed_port: int = 0) -> Server:
    """Start MiniStack; port 0 chooses a free port.

    MiniStack needs a port number. If another program uses that port first, this starts MiniStack
    again on another port.
    """
    for _ in range(PORT_ATTEMPTS):
        port = fixed_port or free_port()
        process = processes.start(
            [sys.executable, "-m", "tools.local_stack.ministack_patches"],
            marker=marker,
            log=emulator_log(folder),
            environment=emulator_settings(port, data, marker),
        )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(
                partial(_answers, url, process, marker),
                what="the start of MiniStack",
                seconds=READY_SECONDS,
            )
        except ServerEndedError:
            if fixed_port or "in use" not in emulator_log(folder).read_text(errors="replace"):
                raise
        else:
            return Server(url, process)
    raise ServerEndedError(f"MiniStack found no free port in {PORT_ATTEMPTS} attempts")


def simulator_log(folder: Path) -> Path:
    return folder / "simulator.log"


def emulator_log(folder: Path) -> Path:
    return folder / "ministack.log"


def _ready_file(data: Path) -> Path:
    return data / "simulator.url"


def check_port(port: int) -> None:
    """Raise `PortError` if no server can listen on this port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "there is no such port"
            raise PortError(f"port {port} can't be used: {reason}") from error


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def emulator_settings(port: int, data: Path, marker: str) -> dict[str, str]:
    """Return settings for a loopback listener, all files under `data`, and no Docker."""
    return {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_EDITION": marker,  # the health response contains it, so it identifies our server
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LAMBDA_EXECUTOR": "local",
        "AUTH": "true",  # IAM's policies decide
        "DOCKER_HOST": f"unix://{data}/no-docker.sock",
        "HOME": str(data),
        "TMPDIR": str(data),
        "S3_DATA_DIR": str(data / "s3"),
        "STATE_DIR": str(data / "state"),
        "PYTHONUNBUFFERED": "1",
    }


def _answers(url: str, process: subprocess.Popen[bytes], marker: str) -> bool:
    _must_live(process, "MiniStack")
    try:
        with _opener.open(f"{url}/_ministack/health", timeout=5) as response:
            health = json.load(response)
    except (OSError, ValueError):
        return False  # not ready, or another program's port
    return bool(health.get("edition") == marker)


def _must_live(process: subprocess.Popen[bytes], name: str) -> None:
    if (code := process.poll()) is not None:
        raise ServerEndedError(f"{name} ended with code {code}")
