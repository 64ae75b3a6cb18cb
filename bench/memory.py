"""Peak memory of a program and of all processes that it starts."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

EVERY = 0.1
"""Seconds between two looks: a shorter peak may be missed."""


def peak_gb(command: Sequence[str]) -> float | None:
    """Run a command; the highest sum of PSS (memory that is shared is counted once) in GB. None without /proc.

    ``RuntimeError`` with its last words where the command fails.
    """
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(_pss(pid) for pid in _family(process.pid)))
            time.sleep(EVERY)
        assert process.stderr is not None
        words = process.stderr.read()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {words[-2000:]}")
    return peak / 1e9 if peak else None


def _family(parent: int) -> list[int]:
    """A process and all that descend from it."""
    found = [parent]
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(child) for child in _text(children).split()]
    return found


def _pss(pid: int) -> int:
    for line in _text(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it ended meanwhile
        return ""
