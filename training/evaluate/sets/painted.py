"""Painted lenses of a validation shard, the same hosts without them, and painted look-alikes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json
from training.cutouts.shards import MANIFEST, VALIDATE
from training.evaluate.sets.lenses import central

LENS, PAINTED = "lens", "painted"
"""Label of a lens, and kind of all cutouts of a painting."""
MOST = 1500
"""Cutouts of a label, drawn alike for all models."""


@dataclass(frozen=True)
class PaintedWindows:
    """``flux`` float32 [N, B, S, S] nJy, NaN for no data; ``label`` str [N]: ``lens``, ``galaxy`` or a look-alike."""

    flux: NDArray[np.float32]
    label: NDArray[np.str_]
    name: str = "painted"


def load_painted(folder: Path, side: int) -> PaintedWindows:
    """Read what is painted, and its hosts, in the validation shards of a folder: the middle ``side`` pixels.

    Raises:
        ScannerError: ``evaluate.no_data`` where there is no painted lens; ``evaluate.window`` where the cutouts are
            smaller than ``side``.
    """
    hint = "Make shards with painted lenses: python -m training cutouts SHARDS --fields DATA --paint N"
    try:
        manifest = load_json(folder / MANIFEST)
        entries = [entry for entry in manifest["shards"] if entry.get("split") == VALIDATE]
        arrays = [np.load(folder / entry["file"], mmap_mode="r") for entry in entries]
        tables = [
            pq.read_table((folder / entry["file"]).with_suffix(".parquet"), columns=["kind", "label"])
            for entry in entries
        ]
    except (OSError, ValueError, KeyError) as error:
        message = f"{folder} has no shards that can be read: {error}."
        raise ScannerError(ErrorCode.EVALUATE_NO_DATA, message, hint) from error
    # Simulated lenses and galaxies on which nothing was painted have labels too.
    labels = [
        np.where(np.array(table["kind"].to_pylist(), str) == PAINTED, np.array(table["label"].to_pylist(), str), "")
        for table in tables
    ]
    if not any((of_shard == LENS).any() for of_shard in labels):
        message = f"{folder} has no painted lens in its validation shards."
        raise ScannerError(ErrorCode.EVALUATE_NO_DATA, message, hint)
    if manifest["window"] < side:
        message = f"The cutouts of {folder} have {manifest['window']} px; the models need {side}."
        raise ScannerError(ErrorCode.EVALUATE_WINDOW, message, "Cut larger ones with --window.")
    label = np.concatenate(labels)
    shard = np.repeat(np.arange(len(labels)), [len(one) for one in labels])
    row = np.concatenate([np.arange(len(one)) for one in labels])
    random, chosen = np.random.default_rng(0), []
    for name in np.unique(label[label != ""]):
        rows = np.flatnonzero(label == name)
        chosen.append(np.sort(random.choice(rows, min(len(rows), MOST), replace=False)))
    picked = np.concatenate(chosen)
    flux = np.stack([central(arrays[shard[one]][row[one]], side) for one in picked])
    return PaintedWindows(flux, label[picked])
