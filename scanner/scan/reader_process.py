"""A reading process: takes tiles from its parent, leaves their pixels in shared slots, sends back what it found.

Started as a program of its own, not through ``multiprocessing``: nothing is imported from the caller's script, which
needs no ``__main__`` guard, and a daemonic cluster worker may start it too.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from catalogs.errors import ErrorCode, ScannerError
from scanner.scan.prepare import Prepared, ReaderJob, prepare
from scanner.scan.report import TileReport
from scanner.survey.tile import Tile
from scanner.system.shared_memory import Array, Slot

READY = "ready"
GRACE = 10.0
"""Seconds that a killed process may take to go."""

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    # By default glibc takes the memory of each array anew from the kernel, which clears it first. Now it keeps some for
    # the next one; 32 MB, enough for an array of a section, is the largest block that all its versions allow.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}
_PROGRAM = "import sys; sys.path[:] = {path!r}; from scanner.scan.reader_process import serve; serve({pipe}, {slots})"


class Reader:
    """One reading process, seen from its parent. It is started by its first tile, and again after it died.

    ``limit``: seconds that one tile may take before the process counts as hung and is killed.
    """

    def __init__(self, job: ReaderJob, slots: Sequence[Slot], limit: float) -> None:
        self._job, self._slots, self._limit = job, slots, limit
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def read(self, tile: Tile, slot: int) -> Prepared | TileReport:
        """Read a tile, or the next part of the one at hand, into a slot.

        A process that dies or hangs on it is a failed tile: ``tile.reader_died``, ``tile.reader_hung``.
        Raises ``ScannerError`` ``reader.not_started`` where no process comes up at all.
        """
        pipe = self._pipe or self._start()
        try:
            pipe.send((tile, slot))
            if not pipe.poll(self._limit):
                self.kill()
                self.stop()
                return _hung(tile, self._limit)
            answer: Prepared | TileReport = pipe.recv()
        except (EOFError, OSError):
            return _died(tile, self.stop())
        return answer

    def stop(self) -> int | None:
        """End the process; its exit status (negative: a signal), None where there was none.

        One that the kernel keeps even when it is killed (a dead network disk) is left to it: None.
        """
        if self._process is None:
            return None
        if self._pipe is not None:
            self._pipe.close()
        status = None
        try:
            status = self._process.wait(timeout=1.0)  # it may be dying by itself: its own status tells why
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(timeout=GRACE)
        self._process = self._pipe = None
        return status

    def kill(self) -> None:
        """End the process now, from any thread; ``read`` returns."""
        if self._process is not None:
            self._process.kill()

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        numbers = [slot.descriptor for slot in self._slots]
        program = _PROGRAM.format(path=sys.path, pipe=theirs.fileno(), slots=numbers)
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno(), *numbers],
            env={**os.environ, **_ENVIRONMENT},
            process_group=0,  # Ctrl-C is for the parent alone
        )
        theirs.close()
        self._pipe = ours
        try:
            ours.send(self._job)
            ours.recv()
        except (EOFError, OSError) as error:
            status = self.stop()
            raise ScannerError(
                ErrorCode.READER_NOT_STARTED,
                f"A reading process ended before its first tile (status {status}).",
                "Its message is above; --readers 0 reads in the main process.",
            ) from error
        return ours


def serve(pipe: int, slots: Sequence[int]) -> None:
    """The reading process itself: one tile at a time until the parent closes the pipe or is gone.

    A batch system that ends a job signals all of its processes. This one leaves it to the parent, which drops the tile
    in hand: else it would seem to have died of it.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = Connection(pipe)
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    try:
        job: ReaderJob = parent.recv()
        rooms = [Slot(descriptor) for descriptor in slots]
        parent.send(READY)
        while True:
            tile, slot = parent.recv()
            _answer(parent, job, rooms, tile, slot)
    except (EOFError, OSError):
        os._exit(0)


def _answer(parent: Connection, job: ReaderJob, rooms: Sequence[Slot], tile: Tile, slot: int) -> None:
    """Send the parts of a tile. The first is left in ``slot``, each other in the one that the parent names next."""

    def room(shape: tuple[int, ...]) -> Array:
        return rooms[slot].array(shape)

    for part in prepare(job, tile, room):
        parent.send(part)
        if isinstance(part, Prepared) and not part.last:
            _, slot = parent.recv()


def _end_with_parent(pipe: int) -> None:
    """End when the parent does. If it was killed, all there is to notice is that its end of the pipe hangs up."""
    watch = select.poll()
    watch.register(pipe, select.POLLHUP)
    watch.poll()
    os._exit(1)


def _died(tile: Tile, status: int | None) -> TileReport:
    how = f"exit status {status}"
    if status is not None and status < 0:
        how = signal.strsignal(-status) or f"signal {-status}"
    return TileReport(
        tile.name,
        "failed",
        code=ErrorCode.TILE_READER_DIED,
        message=f"The process that read tile {tile.name} died ({how}).",
        hint="Killed mostly means out of memory: fewer --readers. The same command tries the tile again.",
    )


def _hung(tile: Tile, limit: float) -> TileReport:
    return TileReport(
        tile.name,
        "failed",
        code=ErrorCode.TILE_READER_HUNG,
        message=f"Tile {tile.name} was not read within {limit:g} s; the process that read it was killed.",
        hint="Does its disk answer? The same command tries the tile again; --time-limit gives it longer.",
    )
