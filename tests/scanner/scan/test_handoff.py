"""Queues between the threads of a scan: in order, bounded, and never a reason to wait for a scan that was stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from scanner.scan.handoff import LocalTile, Stop, StoppableQueue, StoppedError
from scanner.scan.report import TileReport
from scanner.survey.tile import Tile


def waits_until_stopped(wait: Callable[[], object], stop: Stop) -> bool:
    """Whether a call waits, and ends with ``StoppedError`` once the scan is stopped."""
    ended = threading.Event()
    begun = threading.Event()

    def run() -> None:
        begun.set()
        with pytest.raises(StoppedError):
            wait()
        ended.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    begun.wait()
    waited = not ended.wait(0.05)
    stop.set()
    thread.join()
    return waited and ended.is_set()


def test_items_come_in_order() -> None:
    queue: StoppableQueue[int] = StoppableQueue(Stop())
    for number in range(100):
        queue.put(number)
    assert [queue.get() for _ in range(100)] == list(range(100))


@pytest.mark.parametrize("full", [True, False])
def test_a_wait_ends_when_the_scan_is_stopped(full: bool) -> None:
    stop = Stop()
    queue: StoppableQueue[int] = StoppableQueue(stop, 1)
    if full:
        queue.put(1)
    assert waits_until_stopped((lambda: queue.put(2)) if full else queue.get, stop)


def test_nothing_is_handed_over_after_a_stop() -> None:
    stop = Stop()
    queue: StoppableQueue[int] = StoppableQueue(stop)
    queue.put(1)
    stop.set()
    for call in (queue.get, lambda: queue.put(2), stop.wait):
        with pytest.raises(StoppedError):
            call()


def test_who_waits_may_give_up() -> None:
    looks: list[int] = []

    def give_up() -> None:
        looks.append(1)
        if len(looks) == 3:
            raise KeyboardInterrupt

    queue: StoppableQueue[int] = StoppableQueue(Stop(), 1)
    queue.put(1, give_up)
    with pytest.raises(KeyboardInterrupt):
        queue.put(2, give_up)
    assert len(looks) == 3
    assert queue.get() == 1


def test_no_handler_of_errors_takes_a_stop_for_one() -> None:
    """A transfer that is tried again after any error must not be tried again after a stop."""
    assert not issubclass(StoppedError, Exception)


def test_messages_name_where_a_copy_came_from() -> None:
    tile = LocalTile(Tile("217.292"), copies={Path("/tmp/0/r.fits"): "https://host/r.fits"})
    report = TileReport("217.292", "failed", message="/tmp/0/r.fits is truncated.")
    assert tile.by_url(report).message == "https://host/r.fits is truncated."
