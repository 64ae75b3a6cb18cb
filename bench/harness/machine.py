"""What the numbers were measured on, and what else the machine was doing meanwhile."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.harness.timing import Cost, now
from scanner.system import processor
from scanner.system.resources import usable_cores, usable_memory

PACKAGES = (
    "unions-scanner", "numpy", "astropy", "sep", "pyarrow", "onnxruntime", "onnxruntime-gpu", "openvino", "torch",
    "annoy",
)  # fmt: skip


def facts() -> dict[str, Any]:
    """Processor, cores that may be used, memory, system and the versions that matter, as JSON values."""
    return {
        "processor": processor.describe(),
        "cores": usable_cores(),
        "memory_gb": round(usable_memory(), 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


@dataclass(frozen=True)
class Reading:
    """Clocks of this process, and CPU-seconds that the whole machine has worked since it started (None: unknown)."""

    own: Cost
    all: float | None


def reading() -> Reading:
    return Reading(now(), _worked())


def load_since(before: Reading) -> dict[str, Any]:
    """Since ``before``: seconds, own CPU-seconds, how many cores others kept busy, and the load average now."""
    own = now() - before.own
    worked = _worked()
    others = None
    if worked is not None and before.all is not None:
        # The clock of the machine is coarser than that of the process, so the difference may fall below 0.
        others = round(max(worked - before.all - own.cpu, 0.0) / own.wall, 2)
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"wall_s": own.wall, "cpu_s": own.cpu, "cores_used_by_others": others, "load_average": load, "ended": ended}


def _worked() -> float | None:
    """CPU-seconds, idle and waiting for disks left out, time stolen by the host counted as work."""
    try:
        # Later fields, the time of guests, are part of the user time already.
        fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, *rest = (int(field) for field in fields)
    return (user + nice + system + sum(rest)) / float(os.sysconf("SC_CLK_TCK"))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
