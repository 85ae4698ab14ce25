"""The init phase of a function, which builds its parts before the first request.

Import this module first: it stops the garbage collector until the end of the phase, because there
is no garbage to find yet.
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


def end_init(build: Callable[[], object]) -> None:
    """Build the parts, and exclude all objects created so far from garbage collection.

    If a part can't be built, the first request builds it again and reports the error.
    """
    if INITIALIZATION_TYPE not in os.environ:  # tests and local programs build parts on demand
        return
    with contextlib.suppress(Exception):
        build()
    gc.freeze()
    gc.enable()
