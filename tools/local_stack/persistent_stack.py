"""The persistent stack: `up` leaves it running, and `down` finds it in .local/stack.json.

`down` renames the file to last-stack.json, so that the next stack can use the same secrets.
"""

import contextlib
import fcntl
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.local_stack import ROOT, processes
from tools.local_stack.aws import CREDENTIALS
from tools.local_stack.stack import STATE, TOKEN_SECONDS, LocalStack, StartError

FILE = STATE / "stack.json"
LAST, REQUESTS = "last-stack.json", "smsrelay.http"
"""Files beside it: stack.json of the previous stack, and docs/smsrelay.http for this stack."""

Published = dict[str, Any]


def up(token_seconds: int = TOKEN_SECONDS, port: int = 0) -> None:
    """Start the stack if it is not running, and print its addresses.

    Args:
        token_seconds: lifetime of the simulator's access tokens.
        port: port of the API and all AWS services; the phone page has the next one. 0: free ports.

    Raises:
        StartError: it did not start, or is running on another port.
    """
    with _locked():
        published = _read(FILE)
        if published is not None and _runs(published):
            if port and not published["aws_endpoint_url"].endswith(f":{port}"):
                raise StartError(
                    f"The local stack is already running at {published['aws_endpoint_url']}; "
                    "`make down` stops it."
                )
            print("The local stack is already running.")
            if token_seconds not in {TOKEN_SECONDS, published.get("token_seconds")}:
                print(
                    "TOKEN_SECONDS takes effect only when the stack starts: run `make down` first."
                )
        else:
            _clear(published)
            published = _start(token_seconds, port)
            print("The local stack is running; `make down` stops it.")
    print(_addresses(published))


def down() -> None:
    """Stop the stack, and no other process."""
    with _locked():
        published = _read(FILE)
        if published is None:
            print("The local stack is not running.")
        else:
            ended = _clear(published)
            print(f"The local stack is stopped ({ended} processes ended).")


def status() -> bool:
    """Print whether the stack is running, and its addresses."""
    published = _read(FILE)
    if published is None or not _runs(published):
        print("The local stack is not running; `make up` starts it.")
        return False
    # In one write, because `make status | head -3` closes the pipe after the first lines.
    print(f"The local stack is running.\n{_addresses(published)}\n", end="")
    return True


def environment(published: Published) -> dict[str, str]:
    """Return the variables that the docs' examples, boto3 and the AWS CLI read."""
    return {
        "API_URL": published["api_url"],
        "API_KEY": published["api_key"],
        "QUEUE_URL": published["queue_url"],
        "WEBHOOK_SECRET": published["webhook_secret"],
        "AWS_REGION": published["region"],
        "AWS_DEFAULT_REGION": published["region"],
        "AWS_ENDPOINT_URL": published["aws_endpoint_url"],
    } | {name.upper(): value for name, value in CREDENTIALS.items()}


def env() -> bool:
    """Print `environment` as shell commands."""
    published = _read(FILE)
    if published is None or not _runs(published):
        print("The local stack is not running; `make up` starts it.", file=sys.stderr)
        return False
    for name, value in environment(published).items():
        print(f"export {name}={shlex.quote(value)}")
    return True


def _start(token_seconds: int, port: int) -> Published:
    stack = LocalStack(STATE, token_seconds=token_seconds, say=print)
    published = stack.start(port, _read(FILE.with_name(LAST))).published()
    published["token_seconds"] = token_seconds
    try:
        _write(FILE, json.dumps(published, indent=2) + "\n")
        _write(FILE.with_name(REQUESTS), _requests(published))
    except BaseException:
        stack.stop()
        raise
    return published


def _write(file: Path, text: str) -> None:
    """Write a file in one step, readable by the user only, because it contains a key."""
    draft = file.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(file)


def _requests(published: Published) -> str:
    """Return docs/smsrelay.http with the address and key of this stack."""
    text = (ROOT / "docs/smsrelay.http").read_text()
    for name, field in (("apiUrl", "api_url"), ("apiKey", "api_key")):
        text = re.sub(f"(?m)^@{name} = .*$", f"@{name} = {published[field]}", text)
    return text


def _read(file: Path) -> Published | None:
    try:
        published: Published = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    return published


def _runs(published: Published) -> bool:
    return set(published["pids"].values()) <= set(processes.running(published["marker"]))


def _clear(published: Published | None) -> int:
    """End the stack's remaining processes, also after a crash."""
    if published is None:
        return 0
    ended = processes.stop(published["marker"])
    shutil.rmtree(published["data"], ignore_errors=True)
    FILE.with_name(REQUESTS).unlink(missing_ok=True)
    FILE.replace(FILE.with_name(LAST))
    return ended


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Allow one `up` or `down` at a time."""
    STATE.mkdir(exist_ok=True)
    with (STATE / "stack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _addresses(published: Published) -> str:
    return f"""
  phone page      {published["phone_url"]}
  documentation   {published["docs_url"]}
  API             {published["api_url"]}
  queue           {published["queue_url"]}
  AWS             {published["aws_endpoint_url"]} (region {published["region"]})
  all of it       {FILE.relative_to(FILE.parent.parent)}; for a shell: eval "$(make -s env)"
  requests        {FILE.with_name(REQUESTS).relative_to(FILE.parent.parent)}, for an editor

Send a message:

  curl -i '{published["api_url"]}/messages' \\
    -H 'x-api-key: {published["api_key"]}' \\
    -H 'Content-Type: application/json' \\
    -d @events/messages/number.json
"""
