"""The buffers of one caller of a session, on host and device, made once: a batch goes in, runs, vectors come out."""

from __future__ import annotations

import ctypes
import logging
import math
import mmap
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.encoder import session as runtime

Array = NDArray[np.float32]

INPUT, OUTPUT = "flux", "embedding"

_PORTABLE = 1  # CU_MEMHOSTREGISTER_PORTABLE

log = logging.getLogger(__name__)


class Binding:
    """For ``rows`` windows of ``shape`` [B, S, S] and vectors of length ``dim``; one thread at a time may use it.

    The addresses never change, which spares an allocation a call. Windows that are put into ``room`` [rows, B, S, S]
    are not copied on the host again. Pixels go to a GPU once, from page-locked memory, and vectors come back to such,
    while another caller's batch is computed.
    """

    def __init__(self, session: Any, provider: str, rows: int, shape: tuple[int, int, int], dim: int) -> None:
        loaded, place = runtime.load(), runtime.place(session, provider)
        self.room, self._vectors, self._here = _pages(rows, *shape), _pages(rows, dim), provider == runtime.CPU
        self._flux = (
            loaded.OrtValue.ortvalue_from_numpy(self.room)  # the same memory
            if self._here
            else loaded.OrtValue.ortvalue_from_shape_and_type([rows, *shape], np.float32, *place)
        )
        self._session, self._binding = session, session.io_binding()
        self._binding.bind_ortvalue_input(INPUT, self._flux)
        self._binding.bind_output(OUTPUT, "cpu", 0, np.float32, [rows, dim], self._vectors.ctypes.data)
        self.page_locked = not self._here and all(self._lock(buffer, place[1]) for buffer in (self.room, self._vectors))

    def run(self, flux: Array) -> Array:
        """At most ``rows`` windows [n, B, S, S] to vectors [n, D]; the rest of the batch is zeros."""
        rows = len(flux)
        in_room = flux.ctypes.data == self.room.ctypes.data and flux.flags.c_contiguous and flux.dtype == np.float32
        if in_room or self._here or self.page_locked or rows < len(self.room):
            if not in_room:
                self.room[:rows] = flux
            self.room[rows:] = 0
            flux = self.room
        if not self._here:
            self._flux.update_inplace(np.ascontiguousarray(flux, np.float32))
        self._session.run_with_iobinding(self._binding)
        return self._vectors[:rows].copy()

    def _lock(self, buffer: Array, number: int) -> bool:
        unlock = page_lock(buffer.ctypes.data, buffer.nbytes, number)
        if unlock is not None:
            weakref.finalize(self, unlock)
        return unlock is not None


def page_lock(address: int, size: int, number: int) -> Callable[[], int] | None:
    """Page-lock memory, so that GPU ``number`` copies to and from it by itself, at the full speed of the bus.

    From Python, ONNX Runtime allocates such memory for plug-in providers only. What is returned undoes it, to be called
    while the memory is still there; None where the driver would not.
    """
    driver = runtime.driver()
    if driver is None:
        return None
    device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p(address)
    # ONNX Runtime works in the GPU's primary context too: it lasts as long as the process, so it is not released.
    status = (
        driver.cuDeviceGet(ctypes.byref(device), number)
        or driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
        or _within(driver, context, driver.cuMemHostRegister_v2, memory, ctypes.c_size_t(size), _PORTABLE)
    )
    if status:
        log.debug("%d bytes are not page-locked for GPU %d: error %d of its driver.", size, number, status)
        return None
    return partial(_within, driver, context, driver.cuMemHostUnregister, memory)


def _within(driver: Any, context: ctypes.c_void_p, call: Callable[..., int], *given: Any) -> int:
    """A call of the driver within a context, from any thread; 0 if all went well."""
    status: int = driver.cuCtxPushCurrent_v2(context)
    if status == 0:
        status = call(*given)
        driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    return status


def _pages(*shape: int) -> Array:
    """Zeros that begin with a page of memory and share none with anything else."""
    count, page = math.prod(shape), mmap.PAGESIZE
    memory = np.zeros(count + 2 * page // 4, np.float32)
    begin = -memory.ctypes.data % page // 4
    return memory[begin : begin + count].reshape(shape)
