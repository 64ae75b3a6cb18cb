"""The buffers of one caller of a session, on the session's device, made once: a batch goes in, runs, and comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import runtime

Array = NDArray[np.float32]

INPUT, OUTPUT = "flux", "embedding"


class Binding:
    """For ``rows`` windows of ``shape`` [B, S, S] and vectors of length ``dim``; one thread at a time may use it.

    The addresses never change, which spares an allocation a call, and on a GPU a copy by ONNX Runtime: pixels go to the
    device once, vectors come back once, and while one caller's copy is under way another's batch is computed.
    """

    def __init__(self, session: Any, provider: str, rows: int, shape: tuple[int, int, int], dim: int) -> None:
        values = runtime.load().OrtValue
        place = runtime.place(session, provider)
        self._staged = np.zeros((rows, *shape), np.float32)
        self._flux = values.ortvalue_from_shape_and_type([rows, *shape], np.float32, *place)
        self._vectors = values.ortvalue_from_shape_and_type([rows, dim], np.float32, *place)
        self._session, self._binding = session, session.io_binding()
        self._binding.bind_ortvalue_input(INPUT, self._flux)
        self._binding.bind_ortvalue_output(OUTPUT, self._vectors)

    def run(self, flux: Array) -> Array:
        """At most ``rows`` windows [n, B, S, S] to vectors [n, D]; the rest of the batch is zeros."""
        rows = len(flux)
        if rows < len(self._staged):
            self._staged[:rows] = flux
            self._staged[rows:] = 0
            flux = self._staged
        self._flux.update_inplace(np.ascontiguousarray(flux, np.float32))
        self._session.run_with_iobinding(self._binding)
        found: Array = self._vectors.numpy()[:rows].copy()  # on a CPU this is the buffer itself
        return found
