"""Which GPU of its machine a worker takes: of those that it sees, the first that the fewest other workers have.

Workers have no connection to each other. Those of a batch job see the same GPUs under the same numbers; dask-cuda shows
all GPUs to each worker, another one first. A worker takes a GPU by locking a file in the folder for temporary files.
The kernel frees the lock when the worker exits.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from scanner.encoder import session

if sys.platform != "win32":
    import fcntl

_USER = "" if sys.platform == "win32" else f"{os.getuid()}-"  # on Windows the folder is each user's own


@contextlib.contextmanager
def take_device(device: str, on_cpu: bool = False) -> Iterator[str]:
    """Yield ``device``, with the number of a GPU where it has none; the GPU is taken as long as the block lasts.

    ``auto`` is a GPU where there is one, unless the encoder runs ``on_cpu`` all the same.
    """
    gpus = visible() if device in ("cuda", "tensorrt") or (device == "auto" and not on_cpu) else []
    kind = ("cuda" if gpus else "cpu") if device == "auto" else device
    if not gpus:
        yield kind
        return
    number, lock = _lock_gpu(gpus)
    try:
        yield f"{kind}:{number}"
    finally:
        os.close(lock)


def visible() -> list[str]:
    """UUIDs of the GPUs that this process sees, in CUDA's order; numbers may differ between processes, UUIDs do not."""
    driver, uuids = session.driver(), []
    if driver is None:
        return []
    for number in range(session.gpu_count()):
        device, uuid = ctypes.c_int(0), ctypes.create_string_buffer(16)
        driver.cuDeviceGet(ctypes.byref(device), number)
        driver.cuDeviceGetUuid(uuid, device)
        uuids.append(uuid.raw.hex())
    return uuids


def _lock_gpu(gpus: Sequence[str]) -> tuple[int, int]:
    """The number of a GPU, and the open descriptor of its lock; where all are taken, a GPU is shared."""
    folder, times = Path(tempfile.gettempdir()), 0
    # First a GPU that nobody has, then one that one worker has, and so on.
    while True:
        for number, name in enumerate(gpus):
            lock = os.open(folder / f"unions-scanner-{_USER}gpu-{name}-{times}", os.O_RDWR | os.O_CREAT, 0o600)
            if _is_free(lock):
                return number, lock
            os.close(lock)
        times += 1


def _is_free(lock: int) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
