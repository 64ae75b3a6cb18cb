"""The scan: what of its time is the encoder's, what others take for the same objects, seconds by stage, memory.

All on tiles of survey size, with the model as shipped and its int8 form; part after part, each in a module of its own.
"""

from __future__ import annotations

from typing import Any

from bench.harness import tiles
from bench.harness.report import LEAST, MOST, Target
from bench.harness.setup import Setup
from bench.scan import detection, dispatch, efficiency, scores, series, simulated_device
from scanner.system import processor

TARGETS = (
    Target("efficiency", LEAST, 0.95),
    Target("efficiency_int8_raw", LEAST, 0.92),
    Target("efficiency_int8_rice", LEAST, 0.88),
    Target("vs_plain_loop", LEAST, 1.3),
    Target("vs_plain_loop_int8", LEAST, 1.3),
    Target("peer_ratio", LEAST, 1.8),
    Target("peer_ratio_int8", LEAST, 3.5),
    Target("fidelity_int8.centred_cosine", LEAST, 0.995),
    Target("fidelity_int8.neighbour_overlap", LEAST, 0.95),
    Target("scores_cost", MOST, 1.02),
    Target("scores_cost_cpu", MOST, 1.02),
    Target("device_busy", LEAST, 0.97),
    Target("fast_device_busy", LEAST, 0.97),
    Target("planned_device_busy", LEAST, 0.97),
    Target("peak_rss_gb", MOST, 5.5),
    Target("peak_rss_low_gb", MOST, 1.5),
    Target("twenty_tiles.seconds_last_vs_first", MOST, 1.05),
    Target("twenty_tiles.memory_last_vs_first", MOST, 1.05),
    Target("sections_vs_whole", MOST, 1.0),
    Target("sections_unmatched_brighter_half", MOST, 0.001),
    Target("sections_duplicates", MOST, 0),
)
AMX_TARGETS = (
    Target("openvino_bf16_over_pytorch_fp32", LEAST, 3.5),
    Target("openvino_bf16_over_pytorch_bf16", LEAST, 1.8),
    Target("openvino_bf16_over_hyrax", LEAST, 6.0),
)
"""Those of a scan by OpenVINO in bf16, for processors with AMX."""


def measure(setup: Setup) -> dict[str, Any]:
    """``bars`` with what is wanted of each; the rest by itself and in rows, as the parts say."""
    with setup.step("making tiles, where an earlier run did not"):
        raw = tiles.made(setup.folder, setup.side, "raw", 2)
    figures = {
        "pixels": setup.side,
        **efficiency.measure(setup),
        **scores.measure(setup),
        **series.measure(setup, raw),
        **simulated_device.measure(setup),
        **detection.measure(setup, raw[0]),
        **dispatch.measure(setup),
    }
    targets = (*TARGETS, *(AMX_TARGETS if processor.bf16() == "AMX" else ()))
    return {**figures, "bars": [target.row(figures) for target in targets]}
