"""Buffers of one caller of a session, on host and device, allocated once: windows in, vectors and scores out."""

from __future__ import annotations

import ctypes
import logging
import math
import mmap
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scanner.encoder import session

Array = NDArray[np.float32]

INPUT, OUTPUT, SCORES = "flux", "embedding", "scores"

_PORTABLE = 1  # CU_MEMHOSTREGISTER_PORTABLE

log = logging.getLogger(__name__)


class Encoded(NamedTuple):
    """Embeddings [N, D] of N windows, and their scores [N, K]; K is 0 for a model without scores."""

    vectors: Array
    scores: Array


class Binding:
    """Buffers for ``rows`` windows of ``shape`` [B, S, S], their vectors [D] and scores [K]; for one thread at a time.

    Windows that are written to ``flux`` [rows, B, S, S] are not copied on the host again. Pixels go to a GPU once, from
    page-locked memory, and results come back to such memory while another caller's batch is computed.
    """

    def __init__(
        self, onnx_session: Any, provider: str, rows: int, shape: tuple[int, int, int], dim: int, scores: int = 0
    ) -> None:
        loaded, place = session.load(), session.place(onnx_session, provider)
        self.flux, self._here = pages(rows, *shape), provider == session.CPU
        self._results = Encoded(pages(rows, dim), pages(rows, scores))
        self._device_flux = (
            loaded.OrtValue.ortvalue_from_numpy(self.flux)  # the same memory
            if self._here
            else loaded.OrtValue.ortvalue_from_shape_and_type([rows, *shape], np.float32, *place)
        )
        # The addresses are fixed here, which spares an allocation per call.
        self._session, self._binding = onnx_session, onnx_session.io_binding()
        self._binding.bind_ortvalue_input(INPUT, self._device_flux)
        used = [(name, buffer) for name, buffer in zip((OUTPUT, SCORES), self._results, strict=True) if buffer.size]
        for name, buffer in used:
            self._binding.bind_output(name, "cpu", 0, np.float32, list(buffer.shape), buffer.ctypes.data)
        buffers = [self.flux, *(buffer for _, buffer in used)]
        self.page_locked = not self._here and all(self._lock(buffer, place[1]) for buffer in buffers)

    def run(self, flux: Array) -> Encoded:
        """Encode at most ``rows`` windows [n, B, S, S] in one run of the session; the rest of the batch is zeros."""
        rows = len(flux)
        in_place = flux.ctypes.data == self.flux.ctypes.data and flux.flags.c_contiguous and flux.dtype == np.float32
        if in_place or self._here or self.page_locked or rows < len(self.flux):
            if not in_place:
                self.flux[:rows] = flux
            self.flux[rows:] = 0
            flux = self.flux
        if not self._here:
            self._device_flux.update_inplace(np.ascontiguousarray(flux, np.float32))
        self._session.run_with_iobinding(self._binding)
        return Encoded(*(buffer[:rows].copy() for buffer in self._results))

    def _lock(self, buffer: Array, number: int) -> bool:
        unlock = page_lock(buffer.ctypes.data, buffer.nbytes, number)
        if unlock is not None:
            weakref.finalize(self, unlock)
        return unlock is not None


def page_lock(address: int, size: int, number: int) -> Callable[[], int] | None:
    """Page-lock memory, so that GPU ``number`` copies to and from it directly, at the full speed of the bus.

    Returns the function that unlocks it, to be called before the memory is freed; None where the driver refuses. From
    Python, ONNX Runtime itself allocates page-locked memory for plug-in providers only.
    """
    driver = session.driver()
    if driver is None:
        return None
    device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p(address)
    # ONNX Runtime uses the GPU's primary context too. It lasts as long as the process, so it is not released.
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
    """Call the driver within a context, from any thread; returns its status, 0 for success."""
    status: int = driver.cuCtxPushCurrent_v2(context)
    if status == 0:
        status = call(*given)
        driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    return status


def pages(*shape: int) -> Array:
    """Zeros that start at a page of memory and share no page with anything else."""
    count, page = math.prod(shape), mmap.PAGESIZE
    memory = np.zeros(count + 2 * page // 4, np.float32)
    begin = -memory.ctypes.data % page // 4
    return memory[begin : begin + count].reshape(shape)
