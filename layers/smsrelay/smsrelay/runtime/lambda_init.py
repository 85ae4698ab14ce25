"""The init phase of a function: what it needs is made before the first request, once.

Imported before everything else: until the phase ends, the garbage collector has nothing to find.
"""

import contextlib
import gc
import os
from collections.abc import Callable
from typing import Final

INITIALIZATION_TYPE: Final = "AWS_LAMBDA_INITIALIZATION_TYPE"
"""Lambda's own variable; tests and local programs don't have it."""

if INITIALIZATION_TYPE in os.environ:
    gc.disable()


def end_init(*builders: Callable[[], object]) -> None:
    """Build the parts, and exclude everything that exists by now from garbage collection.

    If a part can't be built, the first request builds it again and reports the error.
    """
    if INITIALIZATION_TYPE not in os.environ:  # tests, and programs that build what they need
        return
    with contextlib.suppress(Exception):
        for build in builders:
            build()
    gc.freeze()
    gc.enable()
