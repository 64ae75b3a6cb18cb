"""Peak memory of a program and of all processes that it starts."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

EVERY = 0.1
"""Seconds between two looks: a shorter peak may be missed."""

LIGHT = 20
"""A look at a process that holds gigabytes takes a while: between two looks pass as many times its own duration."""


@dataclass(frozen=True)
class Peak:
    """The highest sums of PSS (memory that is shared is counted once) in GB: of all, and of what is not a file's page.

    Pages of mapped files the system may take back at any time.
    """

    all: float
    own: float


@dataclass(frozen=True)
class Look:
    """PSS in bytes at a moment, in seconds since 1970: of a program and all that it started, summed."""

    at: float
    all: int
    own: int


@dataclass(frozen=True)
class Watched:
    """What a program printed, and looks at its memory while it ran; none without /proc."""

    output: str
    looks: tuple[Look, ...]

    def peak(self, begin: float = 0.0, end: float = math.inf) -> Peak | None:
        """The highest between two moments; None where nobody looked."""
        looks = [look for look in self.looks if begin <= look.at <= end and look.all]
        return Peak(*(max(getattr(look, of) for look in looks) / 1e9 for of in ("all", "own"))) if looks else None


def peak_gb(command: Sequence[str]) -> float | None:
    """As ``peak``: that of all, alone."""
    highest = peak(command)
    return highest.all if highest else None


def peak(command: Sequence[str]) -> Peak | None:
    """Run a command; its highest memory, with all processes that it starts. None without /proc.

    ``RuntimeError`` with its last words where the command fails.
    """
    return watched(command).peak()


def watched(command: Sequence[str]) -> Watched:
    """Run a command and look at its memory meanwhile. ``RuntimeError`` with its last words where it fails."""
    # The output goes to files, since a full pipe would block the program.
    looks = []
    with (
        TemporaryFile("w+", encoding="utf-8") as output,
        TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(command, stdout=output, stderr=errors, encoding="utf-8") as process,
    ):
        while process.poll() is None:
            began = time.perf_counter()
            looks.append(look(process.pid))
            time.sleep(max(EVERY, LIGHT * (time.perf_counter() - began)))
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{command[0]} ended with {process.returncode}: {errors.read()[-2000:]}")
        return Watched(output.read(), tuple(looks))


def look(pid: int) -> Look:
    """Look at the memory of a program and all that it started, now; all zero without /proc."""
    sums = [_pss(one) for one in family(pid)]
    return Look(time.time(), sum(one for one, _ in sums), sum(two for _, two in sums))


def family(parent: int) -> list[int]:
    """A process and all that descend from it."""
    pids = [parent]
    # The list grows while it is read, so all descendants are found.
    for pid in pids:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            pids += [int(child) for child in text(children).split()]
    return pids


def _pss(pid: int) -> tuple[int, int]:
    """Bytes of PSS, and those of them that are no page of a file."""
    # The first line is a range of addresses; the others are in kibibytes.
    lines = text(Path(f"/proc/{pid}/smaps_rollup")).splitlines()[1:]
    sizes = {line.split()[0]: 1024 * int(line.split()[1]) for line in lines}
    return sizes.get("Pss:", 0), sizes.get("Pss:", 0) - sizes.get("Pss_File:", 0)


def text(path: Path | str) -> str:
    """Content of a file of /proc; empty where the process has ended."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
