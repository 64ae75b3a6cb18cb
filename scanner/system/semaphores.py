"""Semaphores of ``multiprocessing``: files of /dev/shm, which stay there when all processes of a group are killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import sys
from pathlib import Path

FOLDER = Path("/dev/shm")  # of Linux
_NAME = re.compile(r"sem\.unions-scanner-(\d+)-(\d+)-.*")


def mark_semaphores() -> None:
    """Name the semaphores of this process and its children after it, and remove those of processes that are gone.

    Of a file named by the standard library alone, nobody can tell whose it is.
    """
    # Python has no public name for the prefix, so it may be gone in a later version: names then stay as they were.
    settings = getattr(multiprocessing.current_process(), "_config", {})
    if sys.platform != "linux" or not FOLDER.is_dir() or "semprefix" not in settings:
        return
    # Containers may share the folder, and yet number their processes apart.
    numbering = Path("/proc/self/ns/pid").stat().st_ino
    settings["semprefix"] = f"/unions-scanner-{numbering}-{os.getpid()}"
    for path in FOLDER.glob("sem.unions-scanner-*"):
        name = _NAME.fullmatch(path.name)
        if name and int(name[1]) == numbering and not Path(f"/proc/{name[2]}").exists():
            with contextlib.suppress(OSError):  # of another user, or removed meanwhile
                path.unlink()
