"""What the threads of a scan hand to each other, and the queue through which they do it."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from scanner.scan.report import TileReport
from scanner.survey.tile import Tile
from scanner.system.signals import POLL

if TYPE_CHECKING:
    from scanner.scan.prepare import Prepared

Item = TypeVar("Item")


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class LocalTile:
    """A tile whose files are all on this machine; ``release`` is called when it was read, and removes its copies.

    ``copies`` are the files that were fetched, each with its URL.
    """

    tile: Tile
    release: Callable[[], None] = _nothing
    copies: Mapping[Path, str] = field(default_factory=dict)

    def by_url(self, report: TileReport) -> TileReport:
        """The same report, whose message names URLs instead of copies that will be gone."""
        message = report.message
        for path, url in self.copies.items():
            message = message.replace(str(path), url)
        return replace(report, message=message)


@dataclass(frozen=True)
class Ready:
    """A tile, or a part of one, whose pixels are at hand until ``release`` is called (once, from any thread)."""

    prepared: Prepared
    release: Callable[[], None]


Outcome = Ready | TileReport
"""What reading a tile gave. A report ends the tile: it needs nothing more."""


class StoppedError(BaseException):
    """The scan was stopped. Not an ``Exception``: nothing but the end of a thread may catch it."""


class Stop:
    """The end of a scan, for all threads that wait for something."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """From now on every wait raises ``StoppedError``."""
        self._event.set()

    def wait(self, seconds: float = 0.0) -> None:
        """Wait; raises ``StoppedError`` if the scan is stopped meanwhile, or was before."""
        if self._event.wait(seconds):
            raise StoppedError


class StoppableQueue(Generic[Item]):
    """A queue of at most ``size`` items (0: any number), whose waits end when the scan is stopped."""

    def __init__(self, stop: Stop, size: int = 0) -> None:
        self._stop = stop
        self._queue: queue.Queue[Item] = queue.Queue(size)

    def put(self, item: Item, check: Callable[[], None] = _nothing) -> None:
        """Append an item; ``check`` is called while there is no space, and raises to give up."""
        self._wait(partial(self._queue.put, item, timeout=POLL), check)

    def get(self, check: Callable[[], None] = _nothing) -> Item:
        """Take the oldest item; ``check`` is called while there is none, and raises to give up."""
        item: Item = self._wait(partial(self._queue.get, timeout=POLL), check)
        return item

    def _wait(self, attempt: Callable[[], Any], check: Callable[[], None]) -> Any:
        # Wait in short turns: a condition that both a stop and a signal wake does not exist in Python.
        while True:
            self._stop.wait()
            check()
            with contextlib.suppress(queue.Full, queue.Empty):
                return attempt()
