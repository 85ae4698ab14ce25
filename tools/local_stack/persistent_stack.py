"""The standing stack: `up` leaves it running, `down` finds it again by .local/stack.json."""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator
from typing import Any

from tools.local_stack import processes
from tools.local_stack.stack import STATE, TOKEN_SECONDS, LocalStack

FILE = STATE / "stack.json"

Published = dict[str, Any]


def up(token_seconds: int = TOKEN_SECONDS) -> None:
    """Start the stack if it is not running, and say where it is.

    Args:
        token_seconds: life of the access tokens that the simulator gives out.

    Raises:
        StartError: it did not start.
    """
    with _locked():
        published = _published()
        if published is not None and _runs(published):
            print("The local stack is already running.")
        else:
            _clear(published)
            published = _start(token_seconds)
            print("The local stack is running; `make down` stops it.")
    print(_addresses(published))


def down() -> None:
    """Stop the stack, and nothing else."""
    with _locked():
        published = _published()
        if published is None:
            print("The local stack is not running.")
        else:
            ended = _clear(published)
            print(f"The local stack is stopped ({ended} processes ended).")


def status() -> bool:
    """Say whether the stack runs, and where."""
    published = _published()
    if published is None or not _runs(published):
        print("The local stack is not running; `make up` starts it.")
        return False
    # In one write: after it, `make status | head -3` closes the pipe.
    print(f"The local stack is running.\n{_addresses(published)}\n", end="")
    return True


def _start(token_seconds: int) -> Published:
    stack = LocalStack(STATE, token_seconds=token_seconds, say=print)
    published = stack.start().published()
    try:
        _write(published)
    except BaseException:
        stack.stop()
        raise
    return published


def _write(published: Published) -> None:
    """Write the file in one go, readable by the user alone: it holds a key."""
    draft = FILE.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(published, indent=2) + "\n")
    draft.replace(FILE)


def _published() -> Published | None:
    try:
        published: Published = json.loads(FILE.read_text())
    except FileNotFoundError:
        return None
    return published


def _runs(published: Published) -> bool:
    return set(published["pids"].values()) <= set(processes.running(published["marker"]))


def _clear(published: Published | None) -> int:
    """End what is left of the stack, after a crash too."""
    if published is None:
        return 0
    ended = processes.stop(published["marker"])
    shutil.rmtree(published["data"], ignore_errors=True)
    FILE.unlink()
    return ended


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One `up` or `down` at a time."""
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
  all of it       {FILE.relative_to(FILE.parent.parent)}

Send a message:

  curl -i '{published["api_url"]}/messages' \\
    -H 'x-api-key: {published["api_key"]}' \\
    -H 'Content-Type: application/json' \\
    -d @events/messages/number.json
"""
