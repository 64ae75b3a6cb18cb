"""A reading process: takes tiles from its parent, leaves their pixels in shared memory, and sends back their objects.

It is started as a program of its own, not through ``multiprocessing``: nothing is imported from the caller's script,
which needs no ``__main__`` guard, and a daemonic cluster worker may start it too.
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
from scanner.system.shared_memory import Array, SharedArray

READY = "ready"
GRACE = 10.0
"""Seconds that a killed process may take to exit."""
STARTS, START_LIMIT = 3, 300.0
"""Tries to start a process that is killed meanwhile, and seconds that each may take."""
DETECTIONS = 4_000_000
"""Objects that sep finds in a process before another takes its place: sep 1.4.1 never frees eight bytes of each."""

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    # By default glibc gets the memory of each array from the kernel, which clears it first. Now it keeps memory for the
    # next array; 32 MB, enough for an array of a section, is the largest threshold that all versions allow.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}
_PROGRAM = "import sys; sys.path[:] = {path!r}; from scanner.scan.reader_process import serve; serve({pipe}, {slots})"


class Reader:
    """One reading process, seen from its parent. It is started for its first tile, and again after it exited.

    After ``DETECTIONS`` objects it is ended between two tiles, with the memory that a library has lost there.

    ``limit``: seconds after which a process that reads a tile counts as hung and is killed.
    """

    def __init__(self, job: ReaderJob, slots: Sequence[SharedArray], limit: float) -> None:
        self._job, self._slots, self._limit = job, slots, limit
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def read(self, tile: Tile, slot: int) -> Prepared | TileReport:
        """Read a tile, or the next part of the current one, into a slot.

        If the process exits or hangs, the tile has failed: ``tile.reader_died``, ``tile.reader_hung``.

        Raises:
            ScannerError: ``reader.not_started``, where no process starts at all.
        """
        pipe = self._pipe or self._start()
        try:
            pipe.send((tile, slot))
            if not pipe.poll(self._limit):
                self.kill()
                self.stop()
                return _timeout_report(tile, self._limit)
            answer: Prepared | TileReport = pipe.recv()
        except (EOFError, OSError):
            return _exit_report(tile, self.stop())
        if isinstance(answer, Prepared) and answer.last and answer.extracted >= DETECTIONS:
            self.stop()
        return answer

    def stop(self) -> int | None:
        """End the process; returns its exit status (negative: a signal), None where there was none.

        A process that the kernel does not end even when it is killed (it waits for a network disk) is abandoned: None.
        """
        if self._process is None:
            return None
        if self._pipe is not None:
            self._pipe.close()
        status = None
        try:
            # It may be about to exit by itself: then its own status shows why.
            status = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(timeout=GRACE)
        self._process = self._pipe = None
        return status

    def kill(self) -> None:
        """Kill the process, from any thread; ``read`` then returns."""
        process = self._process  # the thread that reads may let go of it meanwhile
        if process is not None:
            process.kill()

    def _start(self) -> Connection:
        """Start the process. One that was killed may start the next time; one that raised would raise again."""
        why = ""
        for _ in range(STARTS):
            try:
                pipe = self._pipe = self._launch()
                pipe.send(self._job)
                if pipe.poll(START_LIMIT):
                    pipe.recv()
                    return pipe
                self.kill()
            except EOFError:
                pass
            except OSError as error:  # no memory for another process, or it ended before it took the job
                why = f", {error.strerror}"
            status = self.stop()
            if status is not None and status >= 0:
                break
        raise ScannerError(
            ErrorCode.READER_NOT_STARTED,
            f"A reading process did not start, or exited before its first tile (status {status}{why}).",
            "See its message above; --readers 0 reads in the main process.",
        )

    def _launch(self) -> Connection:
        """Launch the process, and return this end of its pipe."""
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
        return ours


def serve(pipe: int, slots: Sequence[int]) -> None:
    """Run in the reading process: one tile at a time until the parent closes the pipe or is gone."""
    # A batch system that ends a job signals all its processes. The parent acts on it and drops the current tile, which
    # would otherwise seem to have ended this process.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = Connection(pipe)
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    try:
        job: ReaderJob = parent.recv()
        memory = [SharedArray(descriptor) for descriptor in slots]
        parent.send(READY)
        while True:
            tile, slot = parent.recv()
            _answer(parent, job, memory, tile, slot)
    except (EOFError, OSError):
        os._exit(0)


def _answer(parent: Connection, job: ReaderJob, memory: Sequence[SharedArray], tile: Tile, slot: int) -> None:
    """Send the parts of a tile. The first is left in ``slot``, each other in the slot that the parent names next."""

    def room(shape: tuple[int, ...]) -> Array:
        return memory[slot].array(shape)

    for part in prepare(job, tile, room):
        parent.send(part)
        if isinstance(part, Prepared) and not part.last:
            _, slot = parent.recv()


def _end_with_parent(pipe: int) -> None:
    """Exit with the parent. If the parent was killed, the only sign is that its end of the pipe is closed."""
    watch = select.poll()
    watch.register(pipe, select.POLLHUP)
    watch.poll()
    os._exit(1)


def _exit_report(tile: Tile, status: int | None) -> TileReport:
    how = f"exit status {status}"
    if status is not None and status < 0:
        how = signal.strsignal(-status) or f"signal {-status}"
    return TileReport(
        tile.name,
        "failed",
        code=ErrorCode.TILE_READER_DIED,
        message=f"The process that read tile {tile.name} exited ({how}).",
        hint="If it was killed, memory was usually short: lower --readers. The tile is retried on the next run.",
    )


def _timeout_report(tile: Tile, limit: float) -> TileReport:
    return TileReport(
        tile.name,
        "failed",
        code=ErrorCode.TILE_READER_HUNG,
        message=f"Tile {tile.name} was not read within {limit:g} s; the process that read it was killed.",
        hint="Check the file system; raise --time-limit if it is slow. The tile is retried on the next run.",
    )
