"""The init phase of a function: what it needs is made before the first request, once.

Imported before everything else: until the phase ends, the garbage collector has nothing to find.
"""

import contextlib
import gc
import importlib
import os
import random
from collections.abc import Callable
from typing import Final

INITIALIZATION: Final = "AWS_LAMBDA_INITIALIZATION_TYPE"
"""Lambda's own variable: on-demand, provisioned-concurrency or snap-start."""
SNAP_START: Final = "snap-start"

if INITIALIZATION in os.environ:
    gc.disable()


def ends(*builders: Callable[[], object], disconnect: Callable[[], object] | None = None) -> None:
    """Build the parts, and let the collector never look again at what is there by now.

    What can't be built fails again at the first request, where it is told. `disconnect` closes the
    connections of the parts before a snapshot is taken; what it raises, the deployment fails with.
    """
    kind = os.environ.get(INITIALIZATION)
    if kind is None:  # tests, and programs that build what they need
        return
    with contextlib.suppress(Exception):
        for build in builders:
            build()
    if kind == SNAP_START:
        _prepare_for_copies(disconnect)
    gc.freeze()
    gc.enable()


def _prepare_for_copies(disconnect: Callable[[], object] | None) -> None:
    """Let a snapshot hold no connection, and no two copies of it wait equally long.

    Nothing else has to be forgotten: until here no token was read, what is kept of anything ends
    by the wall clock, and ids are made of the system's own entropy.
    """
    hooks = importlib.import_module(
        "snapshot_restore_py"
    )  # only the runtime of such functions has it
    if disconnect:
        hooks.register_before_snapshot(disconnect)
    hooks.register_after_restore(random.seed)
