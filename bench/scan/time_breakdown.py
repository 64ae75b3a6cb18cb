"""Seconds by stage, what overlaps, and where the time goes that the encoder alone would not have taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import mean, median
from typing import Any

from bench.scan.window import Turns
from scanner.scan.report import Seconds


def stages(name: str, turns: Turns) -> list[dict[str, Any]]:
    """Seconds of each stage, summed over threads and processes, and the share of its workers' time that this is.

    ``read`` and ``detect`` are those of the readers; ``cut`` and ``infer`` of the callers, one a core; ``write`` of one
    thread. A share near 1 sets the pace; ``us_per_object`` is what a faster device would meet.
    """
    workers = {"read": turns.options.processes, "detect": turns.options.processes, "write": 1}
    rows = []
    for stage in asdict(Seconds()):
        spent = median(getattr(window.seconds, stage) for window in turns.windows)
        wall = median(window.wall for window in turns.windows)
        objects = median(window.objects for window in turns.windows)
        rows.append({
            "scan": name,
            "stage": stage,
            "seconds": spent,
            "busy_share": spent / (workers.get(stage, turns.encoder.threads) * wall),
            "us_per_object": 1e6 * spent / objects,
        })  # fmt: skip
    return rows


def shares(turns: Turns) -> dict[str, float]:
    """Of the callers' time (they cut and infer): the encoder's own, calls slower than alone, cutting, waiting.

    They add up to 1. Calls last longer while readers and the writer use the same cores and their memory.
    """
    rows = []
    for window, alone in zip(turns.windows, turns.alone, strict=True):
        # Seconds of all callers together; ``alone`` is already wall time with all of them at work.
        whole = turns.encoder.threads * window.wall
        encoder = alone.wall * window.objects / window.wall
        parts = {
            "encoder": encoder,
            "slowed": window.seconds.infer / whole - encoder,
            "cut": window.seconds.cut / whole,
        }
        rows.append({**parts, "waiting": 1 - sum(parts.values())})
    return {name: mean(one[name] for one in rows) for name in rows[0]}


def describe(turns: Turns) -> str:
    """The same in words."""
    parts, window = shares(turns), turns.windows[0]
    seconds, readers = window.seconds, turns.options.processes
    beside = seconds.read + seconds.detect
    losses: Mapping[str, float] = {
        "calls that last longer than alone, as readers and writer work on the same cores": parts["slowed"],
        "cutting windows": parts["cut"],
        "waiting for a tile or for the writer": parts["waiting"],
    }
    costs = "; ".join(f"{share:.1%} {name}" for name, share in sorted(losses.items(), key=lambda item: -item[1]))
    return (
        f"{parts['encoder']:.1%} of the callers' time is the encoder's; {costs}. Beside it, {readers} reading "
        f"process(es) worked {beside:.1f} s and the writer {seconds.write:.1f} s of {window.wall:.1f} s; not "
        f"overlapped is the fill alone, {window.fill:.1f} s before."
    )
