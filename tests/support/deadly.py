"""Dask plugins that kill their worker at a certain tile: what too big a tile, or too little memory, does on demand."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin


class Deadly(WorkerPlugin):  # type: ignore[misc]
    """SIGKILL for the worker that begins with tile ``name``."""

    def __init__(self, name: str) -> None:
        self._sign = f"scan_tile-{name}-"

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        if finish == "executing" and str(key).startswith(self._sign):
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlyRename(WorkerPlugin):  # type: ignore[misc]
    """SIGKILL for the worker that is about to give the file ``name`` its name; it stays so until the worker ends."""

    def __init__(self, name: str) -> None:
        self._name = name

    def setup(self, worker: Any) -> None:
        sys.addaudithook(self._kill)

    def _kill(self, event: str, given: tuple[Any, ...]) -> None:
        if event == "os.rename" and Path(given[1]).name == self._name:
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlyGroup(WorkerPlugin):  # type: ignore[misc]
    """SIGKILL for a worker that begins with the group of tiles whose first is ``tile``: once, or ``always``."""

    def __init__(self, tile: str, mark: Path, always: bool = False) -> None:
        self._sign, self._mark, self._always = f"read_tiles-{tile}-", mark, always

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        if finish == "executing" and str(key).startswith(self._sign) and (self._always or not self._mark.exists()):
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
