"""One model through every measurement."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from training.evaluate.metrics import Estimate, Floats, auc_estimate, leave_one_out, mean_estimate
from training.evaluate.models import Embedder
from training.evaluate.probes import few_shot, probe
from training.evaluate.windows import LabelledWindows, matched

MAGNITUDE = "magnitude alone"

Results = Mapping[str, Estimate]


def evaluate(model: Embedder, windows: LabelledWindows) -> Results:
    """Every measure of the table, by name: ``mAP all``, ``mAP matched``, ..., ``itself without g``, ..."""
    vectors = model.embed(windows.flux)
    results: dict[str, Estimate] = {}
    for against, chosen in _sets(windows).items():
        part, is_lens = vectors[chosen], windows.is_lens[chosen]
        results |= _retrieval(part @ part.T, is_lens, against)
        results[f"probe AUC {against}"] = auc_estimate(probe(part, is_lens), is_lens)
    for how, recalls in few_shot(vectors, windows.is_lens).items():
        results[f"10 lenses, {how}: recall@50"] = mean_estimate(recalls)
    for change, flux in changed(windows).items():
        results[f"itself {change}"] = mean_estimate(finds_itself(model.embed(flux), vectors))
    return results


def magnitude_alone(windows: LabelledWindows) -> Results:
    """What brightness by itself gives: objects of like magnitude as neighbours, brighter ones as likelier lenses."""
    results: dict[str, Estimate] = {}
    for against, chosen in _sets(windows).items():
        magnitude, is_lens = windows.magnitude[chosen], windows.is_lens[chosen]
        results |= _retrieval(-np.abs(magnitude[:, None] - magnitude), is_lens, against)
        results[f"probe AUC {against}"] = auc_estimate(-magnitude, is_lens)
    return results


def changed(windows: LabelledWindows) -> Mapping[str, NDArray[np.float32]]:
    """The same objects seen otherwise: without one of the bands there are, turned by 90 degrees, mirrored."""
    views = {}
    for band in windows.present:
        views[f"without {band}"] = windows.flux.copy()
        views[f"without {band}"][:, windows.bands.index(band)] = np.nan
    views["turned 90 degrees"] = np.rot90(windows.flux, axes=(2, 3))
    views["mirrored"] = windows.flux[..., ::-1]
    return views


def finds_itself(seen_otherwise: NDArray[np.float32], vectors: NDArray[np.float32]) -> Floats:
    """1 where the nearest of ``vectors`` [N, D] is the object itself, else 0: [N]."""
    nearest = (seen_otherwise @ vectors.T).argmax(axis=1)
    return (nearest == np.arange(len(vectors))).astype(np.float64)


def _sets(windows: LabelledWindows) -> Mapping[str, NDArray[np.intp]]:
    return {"all": np.arange(len(windows)), "matched": matched(windows)}


def _retrieval(similarity: NDArray[np.floating], is_lens: NDArray[np.bool_], against: str) -> dict[str, Estimate]:
    measured = leave_one_out(np.asarray(similarity, np.float64), is_lens)
    return {f"{name} {against}": mean_estimate(values) for name, values in measured.items()}
