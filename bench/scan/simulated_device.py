"""A device that exists only as a pace: what feeds a fast one, found out on a machine without it.

Everything of a scan is real (readers, windows, batches of a GPU's size in the memory that it fetches them from, rows,
files) but the session's work: a call waits until its time on the device would be over, and leaves the CPU alone.
"""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.harness import tiles
from bench.harness.setup import Setup
from bench.scan.window import Window, window
from scanner.encoder import encoder
from scanner.encoder.buffers import Encoded
from scanner.encoder.encoder import GPU_CALLERS, Encoder
from scanner.encoder.runtime import GPU_BATCH
from scanner.scan.options import ScanOptions
from scanner.system.resources import usable_cores

RATES = (2_000, 30_000)
PLANNED = (2_000, 4_000, 10_000, 30_000, 60_000)
"""Objects a second."""

SPARE = 0.1
"""Of readers and cores, where a device is to be kept busy: left for tiles that take longer, and for the kernel."""

Vectors = NDArray[np.float32]


class Device(Encoder):
    """An encoder whose session takes the time of a device of ``rate`` windows a second, one batch after the other."""

    def __init__(self, model: str | Path, rate: float) -> None:
        self.rate = rate
        self._free, self._turn = 0.0, threading.Lock()
        super().__init__(model, "cpu", threads=GPU_CALLERS, batch=GPU_BATCH)

    def encode_batch(self, flux: Vectors) -> Encoded:
        """Any unit vectors [n, D], and scores of zero, once the device is through with them."""
        # The device takes one batch after the other. Callers wait outside the lock, so that the next batch can queue.
        with self._turn:
            self._free = max(self._free, time.perf_counter()) + len(flux) / self.rate
            due = self._free
        time.sleep(max(due - time.perf_counter(), 0))
        vectors = np.zeros((len(flux), self.contract.embedding_dim), np.float32)
        vectors[:, 0] = 1
        return Encoded(vectors, np.zeros((len(flux), self._widths[1]), np.float32))


def stand_in(rate: float = RATES[0]) -> None:
    """Let the scans of this process have a device of ``rate`` for their encoder."""

    class Paced(Device):
        def __init__(self, model: str | Path, *_: object, **__: object) -> None:
            super().__init__(model, rate)

    encoder.Encoder = Paced  # type: ignore[misc]


def measure(setup: Setup) -> dict[str, Any]:
    """``device_busy`` of the slow one with one reader; rows of ``feeding`` and of ``readers_needed``.

    ``device_busy`` is the time that the device would have taken over the time that the scan took, after the fill.
    ``fast_device_busy`` is that of the fast one with the readers that it should need, where there are cores for them;
    ``planned_device_busy`` that of the fastest one for which there are, ``planned_device_per_s``.
    """
    slow, rice = (_scanned(setup, RATES[0], 1, form) for form in tiles.FORMATS)
    costs, of_rice = _Costs(slow), _Costs(rice)
    cores, (least, fast) = usable_cores(), RATES
    rows = {least: _row(least, 1, slow, costs)}
    planned = max((rate for rate in PLANNED if costs.fits(rate)), default=None)
    for rate in sorted({planned or least, fast} - {least}) if not setup.quick else (fast,):
        readers = 1 if setup.quick else min(costs.readers(rate), cores)
        rows[rate] = _row(rate, readers, _scanned(setup, rate, readers), costs)
    return {
        "device_busy": rows[least]["device_busy"],
        "fast_device_busy": rows[fast]["device_busy"] if costs.fits(fast) and not setup.quick else None,
        "planned_device_busy": rows[planned]["device_busy"] if planned in rows and not setup.quick else None,
        "planned_device_per_s": planned,
        "device_busy_rice": rice.rate / RATES[0],
        "reader_us_per_object": 1e6 * costs.reader,
        "reader_us_per_object_rice": 1e6 * of_rice.reader,
        "host_us_per_object": 1e6 * costs.host,
        "feeding": list(rows.values()),
        "readers_needed": [
            {
                "objects_per_s": rate,
                "readers": costs.readers(rate),
                "cores": costs.cores(rate),
                "readers_rice": of_rice.readers(rate),
                "cores_rice": of_rice.cores(rate),
            }
            for rate in PLANNED
        ],
    }


class _Costs:
    """Seconds an object of a reader (read, detect), and of the process with the session (cut, write)."""

    def __init__(self, part: Window) -> None:
        of = part.seconds
        self.reader = (of.read + of.detect) / part.objects
        self.host = (of.cut + of.write) / part.objects

    def readers(self, rate: float) -> int:
        """How many readers keep a device of ``rate`` busy, with something to spare."""
        return max(1, math.ceil(rate * self.reader / (1 - SPARE)))

    def cores(self, rate: float) -> float:
        """How many cores are then at work."""
        return rate * (self.reader + self.host)

    def fits(self, rate: float) -> bool:
        """Whether there are as many here."""
        return self.cores(rate) <= (1 - SPARE) * usable_cores()

    def predicted(self, rate: float, readers: int) -> float:
        """Objects a second with so many readers here: what the device, the readers or the cores allow."""
        return min(rate, readers / self.reader, usable_cores() / (self.reader + self.host))


def _scanned(setup: Setup, rate: int, readers: int, form: str = "raw") -> Window:
    """Four tiles for each reader: the first ones fill, the last are only read."""
    used = tiles.made(setup.folder, setup.side, form, 4 * readers)
    step = setup.step(f"a simulated device of {rate:,} a second, {form}, readers: {readers}")
    with step, Device(setup.model, rate) as device, setup.scratch() as folder:
        return window(device, used, ScanOptions(readers=readers), folder)


def _row(rate: int, readers: int, part: Window, costs: _Costs) -> dict[str, Any]:
    return {
        "device_per_s": rate,
        "readers": readers,
        "predicted_per_s": costs.predicted(rate, readers),
        "objects_per_s": part.rate,
        "device_busy": part.rate / rate,
    }
