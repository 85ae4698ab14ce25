"""Tests `python -m tools.mobileconnect_simulator` as the local stack starts it."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
BODY = {"mobileNumbers": ["13175550100"]}
SEND_PATH = "/sms/v1/messageContact/MzA6Nzg6MA/send"


@contextmanager
def command(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command, and yield its process and the line that it printed."""
    process = subprocess.Popen(  # noqa: S603  our own command
        [sys.executable, "-m", "tools.mobileconnect_simulator", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    ready = tmp_path / "ready"
    options = ["--access-token", "one", "--access-token", "two", "--ready-file", str(ready)]
    with command("--port", "0", *options, "--polls-per-status", "0") as (process, line):
        match = re.fullmatch(r"MobileConnect simulator: (http://127\.0\.0\.1:[0-9]+)\n", line)
        assert match is not None
        url = match[1]

        for token in ("one", "two"):
            headers = {"Authorization": f"Bearer {token}"}
            answer = httpx.post(url + SEND_PATH, json=BODY, headers=headers, trust_env=False)
            assert answer.status_code == 202
        assert ready.read_text(encoding="utf-8") == f"{url}\n"
        assert [path.name for path in tmp_path.iterdir()] == ["ready"]

        hang = [{"route": "send", "then": "hang-after-accept"}]
        httpx.post(f"{url}/_control/faults", json=hang, trust_env=False)
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as hanging:
            content = b'{"mobileNumbers": ["13175550100"]}'
            hanging.sendall(
                f"POST {SEND_PATH} HTTP/1.1\r\nHost: simulator\r\nAuthorization: Bearer one\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()
                + content
            )
            process.send_signal(number)
            assert process.wait(timeout=20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_credentials_and_life_of_a_token() -> None:
    options = ["--client-id", "id", "--client-secret", "secret", "--token-seconds", "77"]
    with command(*options) as (_, line):
        url = line.split()[-1]
        body = {"grant_type": "client_credentials", "client_id": "id", "client_secret": "secret"}
        good = httpx.post(f"{url}/v2/token", json=body, trust_env=False)
        bad = httpx.post(
            f"{url}/v2/token", json={**body, "client_secret": "other"}, trust_env=False
        )

    assert good.json()["expires_in"] == 77
    assert bad.status_code == 401


@pytest.mark.parametrize(
    "options", [["--port", "70000"], ["--port", "x"], ["--token-seconds", "0"]]
)
def test_wrong_options_are_reported(options: list[str]) -> None:
    with command(*options) as (process, line):
        assert process.wait(timeout=20) == 2
        assert line == ""
        assert process.stderr is not None
        assert f"argument {options[0]}" in process.stderr.read()


def test_a_used_port_is_reported() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        command("--port", str(taken.getsockname()[1])) as (process, line),
    ):
        assert process.wait(timeout=20) == 1
        assert line == ""
        assert process.stderr is not None
        assert process.stderr.read().startswith("simulator: ")
