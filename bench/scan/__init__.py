"""The scan: what of its time is the encoder's, what others take for the same objects, seconds by stage, memory.

All on tiles of survey size, with the model as shipped and its int8 form; part after part, each in a module of its own.
"""

from __future__ import annotations

from typing import Any

from bench.harness import tiles
from bench.harness.setup import Setup
from bench.scan import detection, dispatch, series
from bench.scan import efficiency as pace
from bench.scan import simulated_device as device
from bench.scan import targets as bars


def measure(setup: Setup) -> dict[str, Any]:
    """``bars`` with what is wanted of each; the rest by itself and in rows, as the parts say."""
    with setup.step("making tiles, where an earlier run did not"):
        raw = tiles.made(setup.folder, setup.side, "raw", 2)
    found = {
        "pixels": setup.side,
        **pace.measure(setup),
        **series.measure(setup, raw),
        **device.measure(setup),
        **detection.measure(setup, raw[0]),
        **dispatch.measure(setup),
    }
    return {**found, "bars": bars.rows(found)}
