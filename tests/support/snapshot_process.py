"""`python -m tests.support.snapshot_process FUNCTION`: a function that copies of a snapshot run.

As Lambda does with SnapStart: the init phase, the hooks before the snapshot, the snapshot, and in
each copy of it the hooks after, and an event. A copy is a fork, whose memory is the snapshot's.

Orders are lines of JSON, each with events and by how many seconds the wall clock jumps before:
first one whose events are handled before the snapshot, then one with an event, or null, for each
copy. The answers are lines, too: the sockets that are open before the first hook, and in the
snapshot; then for each copy its first random number, and what the handler has returned.
"""

import importlib.util
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import snapshot_restore_py

from smsrelay.bootstrap import sending
from tests.support.environment import Context
from tests.support.template import ROOT

Handler = Callable[[dict[str, Any], Context], Any]


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # where the handlers log
    passed = 0.0
    clock = SimpleNamespace(time=lambda: time.time() + passed)
    with patch.object(sending, "time", clock):
        handler = _initialised(sys.argv[1])
        first = json.loads(sys.stdin.readline())
        for event in first["events"]:
            handler(event, Context())
        after_init = _open_sockets()
        for hook, arguments, named in reversed(snapshot_restore_py.get_before_snapshot()):
            hook(*arguments, **named)
        answers.write(json.dumps([after_init, _open_sockets()]) + "\n")
        order = sys.stdin.readline()
        if not order:  # the test wanted to know of the snapshot only
            return
        then = json.loads(order)
        passed += then["jump"]
        snapshot = random.getstate()
        for event in then["events"]:
            if not os.fork():
                random.setstate(snapshot)  # Python has seeded it anew, as for any fork
                answers.write(json.dumps(_restored(handler, event)) + "\n")
                os._exit(0)
            assert os.wait()[1] == 0


def _initialised(function: str) -> Handler:
    spec = importlib.util.spec_from_file_location("app", ROOT / "functions" / function / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler: Handler = module.handler
    return handler


def _restored(handler: Handler, event: dict[str, Any] | None) -> list[Any]:
    for hook, arguments, named in snapshot_restore_py.get_after_restore():
        hook(*arguments, **named)
    number = random.random()  # noqa: S311 - no secret, but a wait
    return [number, handler(event, Context()) if event else None]


def _open_sockets() -> int:
    descriptors = Path("/proc/self/fd").iterdir()
    links = [str(path.readlink()) for path in descriptors if path.is_symlink()]
    return sum(link.startswith("socket:") for link in links)


if __name__ == "__main__":
    main()
