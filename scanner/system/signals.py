"""SIGINT and SIGTERM as requests that are acted on where stopping is safe."""

from __future__ import annotations

import signal
import threading
from types import FrameType

POLL = 0.1
"""Seconds between two checks of a wait whether it must end."""

_REPLACED = {
    signal.SIGINT: (signal.default_int_handler,),
    signal.SIGTERM: (signal.SIG_DFL, signal.default_int_handler),
}
"""Handlers by default, and the one of ``raise_on_termination``."""


def raise_on_termination() -> None:
    """Make SIGTERM raise ``KeyboardInterrupt`` from now on, as SIGINT does."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


class Interrupts:
    """While the ``with`` block runs in the main thread, the first SIGINT or SIGTERM is kept until ``check`` raises it.

    A ``KeyboardInterrupt`` between two instructions could leave a lock held or a file half-closed. A second signal acts
    at once, as it would without this class. Handlers that somebody else installed are kept.
    """

    def __init__(self) -> None:
        self._raised = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interrupts:
        # Only the main thread may install handlers.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if (before := signal.getsignal(number)) in _REPLACED[number]:
                    self._before[number] = before
                    signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if a signal was received."""
        if self._raised:
            raise KeyboardInterrupt

    def _remember(self, number: int, frame: FrameType | None) -> None:
        # The second signal finds the handlers that were there before.
        self._raised = True
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]
