"""Peak memory of a program and of all processes that it starts."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EVERY = 0.1
"""Seconds between two looks: a shorter peak may be missed."""


@dataclass(frozen=True)
class Peak:
    """The highest sums of PSS (memory that is shared is counted once) in GB: of all, and of what is not a file's page.

    Pages of mapped files the system may take back at any time.
    """

    all: float
    own: float


def peak_gb(command: Sequence[str]) -> float | None:
    """As ``peak``: that of all, alone."""
    found = peak(command)
    return found.all if found else None


def peak(command: Sequence[str]) -> Peak | None:
    """Run a command; its highest memory, with all processes that it starts. None without /proc.

    ``RuntimeError`` with its last words where the command fails.
    """
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        highest = own = 0
        while process.poll() is None:
            sums = [_pss(pid) for pid in _family(process.pid)]
            highest, own = max(highest, sum(one for one, _ in sums)), max(own, sum(two for _, two in sums))
            time.sleep(EVERY)
        assert process.stderr is not None
        words = process.stderr.read()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {words[-2000:]}")
    return Peak(highest / 1e9, own / 1e9) if highest else None


def _family(parent: int) -> list[int]:
    """A process and all that descend from it."""
    found = [parent]
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(child) for child in _text(children).split()]
    return found


def _pss(pid: int) -> tuple[int, int]:
    """Bytes of PSS, and those of them that are no page of a file."""
    lines = _text(Path(f"/proc/{pid}/smaps_rollup")).splitlines()[1:]
    found = {line.split()[0]: 1024 * int(line.split()[1]) for line in lines}
    return found.get("Pss:", 0), found.get("Pss:", 0) - found.get("Pss_File:", 0)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it ended meanwhile
        return ""
