"""What this process may use of the machine it runs on: batch systems and containers (CANFAR's are such) give it a part.

Linux tells of it in control groups: files in the folder of the process' group and in those above, of version 2
(``cpu.max``, ``memory.max``) or 1 (``cpu.cfs_quota_us``, ``memory.limit_in_bytes``).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS, _MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores that this process may keep busy, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([cores, *_quotas()])))


def usable_memory() -> float:
    """Memory in GB that this process may fill; without end where the system does not tell."""
    limits = [
        limit
        for folder in _folders()
        for name in ("memory.max", "memory.limit_in_bytes")
        for limit in _numbers(folder / name)
    ]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(limits, default=math.inf) / 1e9


def _quotas() -> Iterator[float]:
    """Shares of the cores' time, in cores."""
    for folder in _folders():
        both = _numbers(folder / "cpu.max")
        older = [*_numbers(folder / "cpu.cfs_quota_us"), *_numbers(folder / "cpu.cfs_period_us")]
        for numbers in (both, older):
            if len(numbers) == 2 and min(numbers) > 0:  # a quota of -1: as much as there is
                yield numbers[0] / numbers[1]


def _numbers(file: Path) -> list[float]:
    """What a file says; nothing where it is not there, or says something else."""
    try:
        return [math.inf if word == "max" else float(word) for word in file.read_text().split()]
    except (OSError, ValueError):
        return []


def _folders() -> Iterator[Path]:
    try:
        lines = _MEMBERSHIP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # "cpu,cpuacct" is a folder that is called so, or each name a link to it; version 2 has no names
        for root in {_GROUPS / controllers, *(_GROUPS / name for name in controllers.split(","))}:
            inside = root / path.strip("/")
            yield from (folder for folder in (inside, *inside.parents) if folder.is_relative_to(root))
