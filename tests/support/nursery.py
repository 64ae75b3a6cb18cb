"""Scans in processes that are forked from one that has imported everything: a scan to be killed costs no start.

``python -m tests.support.nursery FOLDER MODEL``: each line of stdin, "READERS OUT", starts a scan of the list in FOLDER
into OUT; its process id is answered.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType

import catalogs
from scanner.encoder import encoder, session
from scanner.scan.options import ScanOptions
from scanner.scan.report import ScanReport
from scanner.scan.run import make_run, scan_tiles
from scanner.survey import survey, tile_list
from tests.support.waiting import until

REPOSITORY = Path(__file__).parents[2]


def scan_list(folder: Path, model: Path, out: Path, readers: int) -> ScanReport:
    """Scan the tiles of ``folder/list.txt`` in this process."""
    unions, options = survey.load("unions"), ScanOptions(readers=readers)
    with encoder.Encoder(model, device="cpu", threads=2) as loaded:
        run = make_run(unions, loaded, options)
        wanted = tile_list.read_list(folder / "list.txt", unions, folder)
        return scan_tiles(wanted, unions, loaded, catalogs.create(out, run), run, options)


class Nursery:
    """The process that forks scans, seen from a test."""

    def __init__(self, folder: Path, model: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder), str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def start(self, out: Path, readers: int) -> int:
        """Start a scan; the id of its process, which is gone without a trace when it ends."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{readers} {out}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def finish(self, out: Path, readers: int) -> float:
        """Scan without disturbance; the seconds it took."""
        began = time.monotonic()
        pid = self.start(out, readers)
        until(lambda: not alive(pid), 0.002)
        return time.monotonic() - began


def kill(pid: int, after: float) -> bool:
    """Kill a process after so many seconds, at once and for good; False if it had ended before."""
    time.sleep(after)
    if not alive(pid):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), 0.002)
    return True


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def main(folder: Path, model: Path) -> None:
    session.load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who ends is forgotten
    for line in sys.stdin:
        readers, out = line.rstrip("\n").split(" ", 1)
        if (pid := os.fork()) == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _scan_and_leave(folder, model, Path(out), int(readers))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _scan_and_leave(folder: Path, model: Path, out: Path, readers: int) -> None:
    try:
        scan_list(folder, model, out, readers)
    except BaseException:  # noqa: BLE001  (what the test will miss is told; nobody waits for the status)
        traceback.print_exc()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
