"""What a model was to reach on development data, set before it was trained, and what of it its evaluation shows."""

from __future__ import annotations

import json
from pathlib import Path

AIMS = {
    ("retrieval", "mAP matched"): 0.60,
    ("retrieval", "P@10 matched"): 0.65,
    ("probe", "AUC matched"): 0.95,
    ("few-shot", "similar: recall@50"): 0.70,
    ("galaxy", "galaxy or not: AUC"): 0.95,
    ("invariance", "itself without g"): 0.85,
    ("invariance", "itself without r"): 0.85,
    ("invariance", "itself without i"): 0.85,
    ("invariance", "itself turned 90 degrees"): 0.95,
}
"""At least, by task and measure."""


def aims(evaluation: Path) -> str:
    """Which aims the first model of an ``evaluation.json`` missed, and which were not measured, in a sentence."""
    measured = next(iter(json.loads(evaluation.read_text(encoding="utf-8"))["models"].values()))
    found = {aim: measured.get(aim[0], {}).get("measures", {}).get(aim[1], {}).get("value") for aim in AIMS}
    missed = [
        f"{task}, {measure} {value:.3f} instead of {AIMS[task, measure]:.2f}"
        for (task, measure), value in found.items()
        if value is not None and value < AIMS[task, measure]
    ]
    absent = [f"{task}, {measure}" for (task, measure), value in found.items() if value is None]
    said = f"Of {len(AIMS)} aims set beforehand {len(AIMS) - len(missed) - len(absent)} are met"
    for what, some in (("missed", missed), ("not measured", absent)):
        said += f"; {what}: {'; '.join(some)}" if some else ""
    return f"{said}."
