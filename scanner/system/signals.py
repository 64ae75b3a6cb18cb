"""SIGINT and SIGTERM as a request that is looked at where stopping is safe."""

from __future__ import annotations

import signal
import threading
from types import FrameType

POLL = 0.1
"""Seconds after which a wait looks whether it is to end."""

_OURS = {
    signal.SIGINT: (signal.default_int_handler,),
    signal.SIGTERM: (signal.SIG_DFL, signal.default_int_handler),
}
"""What a signal does where nobody installed a handler, and what ``raise_on_termination`` makes of SIGTERM."""


def raise_on_termination() -> None:
    """From now on SIGTERM is a ``KeyboardInterrupt``, as SIGINT is, wherever it finds the program."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


class Interrupts:
    """While the ``with`` block runs in the main thread, the first SIGINT or SIGTERM is kept until ``check`` raises it.

    A ``KeyboardInterrupt`` that fell between two instructions could leave a lock held or a file half-closed. A second
    signal acts at once, as it would have without this. Handlers that somebody else installed are left alone.
    """

    def __init__(self) -> None:
        self._raised = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if (before := signal.getsignal(number)) in _OURS[number]:
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if a signal came."""
        if self._raised:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._raised = True
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)  # type: ignore[arg-type]
