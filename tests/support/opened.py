"""Counts how often the files of a folder are opened, whoever opens them: Python, Arrow or a child process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_IN_OPEN, _IN_ACCESS, _IN_CLOSE, _NONBLOCK = 0x20, 0x01, 0x18, 0o4000
_EVENT = struct.Struct("iIII")
FOLDER = ""


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Counter[str]]:
    """Count into the yielded counter, by name, what is opened in ``folder``; ``FOLDER`` counts its listings.

    The kernel counts (inotify, on Linux). The counter is filled when the block ends.
    """
    # The kernel merges equal events that follow each other, so reads and closes are watched too: they part the opens.
    libc = ctypes.CDLL(None, use_errno=True)
    counts: Counter[str] = Counter()
    watch = libc.inotify_init1(_NONBLOCK)
    if watch < 0 or libc.inotify_add_watch(watch, os.fsencode(folder), _IN_OPEN | _IN_ACCESS | _IN_CLOSE) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    try:
        yield counts
        with contextlib.suppress(BlockingIOError):
            while events := os.read(watch, 1 << 16):
                at = 0
                while at < len(events):
                    _, mask, _, size = _EVENT.unpack_from(events, at)
                    at += _EVENT.size + size
                    if mask & _IN_OPEN:
                        counts[os.fsdecode(events[at - size : at].rstrip(b"\0"))] += 1
    finally:
        os.close(watch)
