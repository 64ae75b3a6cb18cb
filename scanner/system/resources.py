"""Cores and memory that this process may use: batch systems and containers (CANFAR's, for example) give it a part.

Linux keeps the limits in control groups: files in the folder of the process' group and in those above, of version 2
(``cpu.max``, ``memory.max``) or 1 (``cpu.cfs_quota_us``, ``memory.limit_in_bytes``).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS, _MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Number of cores that this process may keep busy, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([cores, *_quotas()])))


def usable_memory() -> float:
    """Memory in GB that this process may fill; infinity where the system does not tell."""
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
    """Limits on processor time, in cores."""
    for folder in _folders():
        both = _numbers(folder / "cpu.max")
        older = [*_numbers(folder / "cpu.cfs_quota_us"), *_numbers(folder / "cpu.cfs_period_us")]
        for numbers in (both, older):
            # A quota of -1 means no limit.
            if len(numbers) == 2 and min(numbers) > 0:
                yield numbers[0] / numbers[1]


def _numbers(file: Path) -> list[float]:
    """The numbers in a file; none where it is missing or holds something else."""
    try:
        return [math.inf if word == "max" else float(word) for word in file.read_text(encoding="utf-8").split()]
    except (OSError, ValueError):
        return []


def _folders() -> Iterator[Path]:
    """Folders of the control groups that this process is in."""
    try:
        lines = _MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # "cpu,cpuacct" is the name of a folder, or each of the two names is a link to it; version 2 has no names.
        for root in {_GROUPS / controllers, *(_GROUPS / name for name in controllers.split(","))}:
            inside = root / path.strip("/")
            yield from (folder for folder in (inside, *inside.parents) if folder.is_relative_to(root))
