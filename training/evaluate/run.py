"""Several models on one set of windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from training.evaluate.measure import MAGNITUDE, Results, evaluate, magnitude_alone
from training.evaluate.models import BASELINE_SIDE, BASELINES, PIXEL_PCA, Embedder, OnnxEncoder, PixelPca, RandomWeights
from training.evaluate.windows import LabelledWindows, load


def compare(
    models: Sequence[str], data: Path, threads: int = 2, say: Callable[[str], None] = lambda _: None
) -> tuple[dict[str, Results], dict[str, Any]]:
    """Results by model name, magnitude alone last; and what was measured on what, for the record."""
    encoders = {name: OnnxEncoder(Path(name), threads) for name in models if name not in BASELINES}
    windows = load(data, max([BASELINE_SIDE, *(encoder.side for encoder in encoders.values())]))
    results: dict[str, Results] = {}
    for name in models:
        model = encoders.get(name) or _baseline(name, windows)
        say(f"measuring {name} on {len(windows)} windows")
        results[name if model.name in results else model.name] = evaluate(model, windows)
    results[MAGNITUDE] = magnitude_alone(windows)
    return results, _about(models, windows)


def _baseline(name: str, windows: LabelledWindows) -> Embedder:
    return PixelPca(windows) if name == PIXEL_PCA else RandomWeights(windows)


def _about(models: Sequence[str], windows: LabelledWindows) -> dict[str, Any]:
    lenses = int(windows.is_lens.sum())
    return {
        "models": list(models),
        "lenses": lenses,
        "negatives": len(windows) - lenses,
        "bands": list(windows.present),
        "intervals": "95 %, bootstrap over queries, objects or draws",
    }
