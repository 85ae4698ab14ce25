"""Tests the deployed token renewer: sends go on while tokens expire or are revoked."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_cli import Shell
from tools.local_stack.deployment import STACK_NAME
from tools.local_stack.polling import wait_for
from tools.local_stack.simulator_client import SimulatorControl
from tools.local_stack.stack import LocalStack, Stack
from tools.local_stack.token_soak import MESSAGE, Watch

TOKEN_SECONDS = 4
ANY_CLIENT = {
    "grant_type": "client_credentials",
    "client_id": "sim-no-sms-read",  # a magic client, valid with any secret
    "client_secret": "any",
}


@pytest.fixture
def short_lived(tmp_path: Path) -> Iterator[Stack]:
    """A stack whose tokens are valid for a few seconds."""
    with LocalStack(tmp_path, token_seconds=TOKEN_SECONDS) as running:
        yield running


def test_sends_go_on_while_one_token_after_another_ends(short_lived: Stack) -> None:
    with Watch(short_lived, TOKEN_SECONDS) as watch:
        seen = watch.run(10)
    assert seen.problems() == [], str(seen)
    assert seen.fetched >= 2, "each token lasts for 4 of the 10 seconds"


def test_a_token_that_ends_early_is_renewed_once_without_a_failed_request(
    tmp_path: Path,
) -> None:
    with LocalStack(tmp_path) as own, SimulatorControl(own.simulator_url) as upstream:
        fetched = upstream.tokens_fetched()
        upstream.expire_tokens()
        with ThreadPoolExecutor(5) as pool:
            posted = list(pool.map(lambda _: post(own), range(5)))
        assert {message["status"] for message in posted} <= {"queued", "accepted"}
        wait_for(
            lambda: len(upstream.sent()) == len(posted),
            what="the sends with the new token",
            seconds=60,
        )
        assert upstream.tokens_fetched() == fetched + 1
        file = tmp_path / "stack.json"
        file.write_text(json.dumps(own.published()))
        assert_healthy(Shell(file), own)


def assert_healthy(shell: Shell, stack: Stack) -> None:
    """Assert that `smsrelay doctor` finds no problem, by the stack's name and by its file."""
    by_name = ("--stack-name", STACK_NAME, "--region", stack.region)
    deployed = json.loads(shell.run("doctor", "--json", *by_name, by_file=False).stdout)["checks"]
    assert {check["state"] for check in deployed} == {"ok"}
    [alarms] = [check["finding"] for check in deployed if check["check"] == "alarms"]
    assert re.match("none of [0-9]+ is active", alarms)
    local = shell.ask("doctor")["checks"]
    assert [check["check"] for check in local] == [check["check"] for check in deployed]


def test_repeated_requests_do_not_replace_a_valid_token(
    stack: Stack, upstream: SimulatorControl
) -> None:
    def ask(need: str) -> dict[str, str]:
        answer = stack.clients.lambda_.invoke(
            FunctionName=stack.functions["TokenRenewerFunction"],
            Payload=json.dumps({"need": need, "token": "of-another-token"}),
        )
        done: dict[str, str] = json.load(answer["Payload"])
        return done

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(ask, ("refused", "expiring", "missing", "refused")))
    assert done == [{"did": "kept", "reason": "good"}] * 4
    assert upstream.tokens_fetched() == 0


def test_without_renewal_a_manually_stored_token_is_used(tmp_path: Path) -> None:
    with LocalStack(tmp_path, parameters={"TokenRenewal": "off"}) as off:
        assert "TokenRenewerFunction" not in off.functions
        assert not off.credentials_secret
        posted = post(off)
        assert posted["sends"][0]["reason"] == "no-token"
        issued = httpx.post(f"{off.simulator_url}/v2/token", json=ANY_CLIENT, trust_env=False)
        off.clients.secretsmanager.put_secret_value(
            SecretId=off.token_secret, SecretString=issued.text
        )
        wait_for(lambda: post(off)["status"] == "accepted", what="the token", seconds=60)


def post(stack: Stack) -> dict[str, Any]:
    answer = httpx.post(
        f"{stack.api_url}/messages",
        json=MESSAGE,
        headers={"x-api-key": stack.api_key},
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    body: dict[str, Any] = answer.json()
    return body
