"""Memory that two processes share and that is never leaked, even where one of them is killed: a file without a name.

A named segment in /dev/shm stays when its process is killed, and containers limit /dev/shm to 64 MB. A memfd has
neither a name nor that limit, and is freed with the last process that has it open.
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


class SharedArray:
    """Memory for the pixels of one tile, reached through a file descriptor that a child process inherits.

    Both sides call ``array(shape)``: the file grows to the largest tile so far and is mapped again only then. The
    caller decides which side may use it when.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = _nameless_file() if descriptor is None else descriptor
        self._map: mmap.mmap | None = None

    def array(self, shape: tuple[int, ...]) -> Array:
        """A float32 array over the start of the memory; it holds what the last writer left."""
        size = max(math.prod(shape), 1) * ITEM
        # The other side may have grown the file meanwhile: map all that is there.
        if self._map is None or len(self._map) < size:
            self._reserve(size)
            # Arrays over the older mapping keep it alive.
            self._map = mmap.mmap(self.descriptor, os.fstat(self.descriptor).st_size)
        return np.frombuffer(self._map, np.float32, math.prod(shape)).reshape(shape)

    def close(self) -> None:
        """Close the descriptor; the memory is freed with the last array over it."""
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
        # The file is on disk. Write it now: a full disk would otherwise be a bus error at some later access.
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        block = bytes(1 << 20)
        for start in range(0, size, len(block)):
            os.write(self.descriptor, block[: size - start])


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("scanner-tile", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
