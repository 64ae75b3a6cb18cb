"""Memory that two processes share and that no death of either can leak: a file without a name.

A named segment in /dev/shm outlives a parent that is killed, and containers give /dev/shm 64 MB. A memfd has no name,
no such limit, and is gone with the last process that holds it.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
ITEM = np.dtype(np.float32).itemsize


class Slot:
    """Room for the pixels of one tile, reached through a file descriptor that a child process inherits.

    Both sides ask for ``array(shape)``: the file grows to the largest tile so far and is mapped again only then. Who
    may use it when is the business of the caller.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = _nameless_file() if descriptor is None else descriptor
        self._map: mmap.mmap | None = None

    def array(self, shape: tuple[int, ...]) -> Array:
        """A float32 array over the start of the slot; its contents are what the last writer left."""
        size = max(math.prod(shape), 1) * ITEM
        if self._map is None or len(self._map) < size:
            self._reserve(size)
            # An older mapping lives as long as arrays over it do.
            self._map = mmap.mmap(self.descriptor, os.fstat(self.descriptor).st_size)
        return np.frombuffer(self._map, np.float32, math.prod(shape)).reshape(shape)

    def close(self) -> None:
        """Let go of the descriptor; the memory goes when the last array over it does."""
        self._map = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _reserve(self, size: int) -> None:
        if os.fstat(self.descriptor).st_size >= size:
            return
        if hasattr(os, "memfd_create"):
            os.ftruncate(self.descriptor, size)
            return
        os.lseek(self.descriptor, 0, os.SEEK_SET)  # on disk: take the room now, a full disk must not be a bus error
        block = bytes(1 << 20)
        for start in range(0, size, len(block)):
            os.write(self.descriptor, block[: size - start])


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("scanner-tile", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
