"""Progress of a scan on stderr: a bar on a terminal, else one log line per tile."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, Protocol, Self

from scanner.scan.report import TileReport

log = logging.getLogger("scanner.scan")


class Progress(Protocol):
    """Called at the steps of a scan, always from one thread."""

    def started(self, tile: str, objects: int) -> None: ...

    def embedded(self, objects: int) -> None: ...

    def finished(self, report: TileReport) -> None: ...


class Quiet:
    """Shows nothing. A context manager like its subclasses: a bar is closed at the end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def started(self, tile: str, objects: int) -> None:
        pass

    def embedded(self, objects: int) -> None:
        pass

    def finished(self, report: TileReport) -> None:
        pass

    def reached(self, done: int, of: int) -> None:
        """Take the number of pieces that are ``done``, of work that counts by itself."""


class Lines(Quiet):
    """One log line per tile, with its place in the list, and the time left where that is at least two minutes."""

    def __init__(self, total: int | None = None) -> None:
        self._total = total
        self._ended = 0
        self._worked = 0
        self._began = time.monotonic()

    def finished(self, report: TileReport) -> None:
        self._ended += 1
        self._worked += report.status != "skipped"
        place = f"{self._ended}/{self._total}{self._time_left()}" if self._total else str(self._ended)
        level = logging.WARNING if report.status == "failed" else logging.INFO
        log.log(level, "[%s] %s", place, line(report))
        for note in report.notes:
            log.warning("%s: %s", report.tile, note)

    def _time_left(self) -> str:
        """The time left, if each tile takes as long as those that this scan has finished."""
        if not self._worked or not self._total:
            return ""
        # Tiles that were done before take no time.
        minutes = (time.monotonic() - self._began) / self._worked * (self._total - self._ended) / 60
        return "" if minutes < 2 else f", {duration(minutes)} left"


class Bar(Quiet):
    """A bar of tiles with the time left, the current tile and objects per second."""

    def __init__(self, total: int | None = None, unit: str = "tile") -> None:
        from tqdm import tqdm

        self._bar: Any = tqdm(total=total, unit=unit, dynamic_ncols=True, smoothing=0.1)
        self._objects = 0

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def started(self, tile: str, objects: int) -> None:
        self._bar.set_description(tile, refresh=False)

    def embedded(self, objects: int) -> None:
        self._objects += objects
        # Objects, not tiles: a tile takes minutes, in which the bar moves too.
        elapsed = self._bar.format_dict["elapsed"]
        if elapsed > 0:
            self._bar.set_postfix_str(f"{self._objects / elapsed:,.0f} objects/s", refresh=False)
        self._bar.update(0)

    def finished(self, report: TileReport) -> None:
        if report.status == "failed":
            self._bar.write(line(report), file=self._bar.fp)
        for note in report.notes:
            self._bar.write(f"{report.tile}: {note}", file=self._bar.fp)
        self._bar.update(1)

    def reached(self, done: int, of: int) -> None:
        self._bar.total = of
        self._bar.update(done - self._bar.n)


def visible(total: int | None = None) -> Quiet:
    """Progress on stderr, of a list of ``total`` tiles: a bar on a terminal, else a log line a tile."""
    return Bar(total) if sys.stderr.isatty() else Lines(total)


def duration(minutes: float) -> str:
    """``95`` minutes as ``1 h 35 min``."""
    hours, rest = divmod(round(minutes), 60)
    return f"{hours} h {rest} min" if hours else f"{rest} min"


def line(report: TileReport) -> str:
    """A tile's report in one line."""
    if report.status == "failed":
        return f"{report.tile} failed: {report.message} [{report.code}]"
    if report.status == "skipped":
        return f"{report.tile} done before"
    took = report.seconds
    stages = f"read {took.read:.1f}, detect {took.detect:.1f}, cut {took.cut:.1f}, infer {took.infer:.1f}"
    dropped = f", {report.dropped_by}" if report.dropped else ""
    return f"{report.tile} {report.objects} objects{dropped} ({stages}, write {took.write:.1f} s)"
