"""A wait for an event, however long a busy machine takes to bring it about."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], pause: float = 0.01) -> None:
    """Return when ``condition()`` holds, looked at every ``pause`` seconds.

    There is no deadline here: what never happens ends at the time limit that pytest gives every test.
    """
    while not condition():
        time.sleep(pause)
