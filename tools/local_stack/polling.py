"""Waits for a condition."""

import time
from collections.abc import Callable


def wait_for[T](
    condition: Callable[[], T | None], *, what: str, seconds: float, every: float = 0.02
) -> T:
    """Call `condition` until it returns a true value, and return the value.

    Raises:
        TimeoutError: it did not within `seconds`; the message contains `what`.
    """
    deadline = time.monotonic() + seconds
    while True:
        if result := condition():
            return result
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} seconds")
        time.sleep(every)
