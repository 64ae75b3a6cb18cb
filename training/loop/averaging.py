"""Average of runs that differ in their seed alone: one network of the weights of several.

Runs that begin with the same weights, and with the same random head, end near each other. Their mean does better on
images unlike those of the training than each of them, at the cost of one.

Source: Wortsman et al. 2022, arXiv:2203.05482.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from catalogs.atomic import make_folder
from catalogs.errors import ErrorCode, ScannerError
from training.cutouts.shards import TRAIN, VALIDATE
from training.loop.batches import open_cutouts
from training.loop.calibration import calibrate_scores
from training.loop.checkpoint import NAME, Checkpoint, load, save
from training.loop.statistics import fit_embedding


def average_runs(runs: Sequence[Path], shards: Path, out: Path) -> Checkpoint:
    """Average finished runs of the third stage, and write the checkpoint into ``out``.

    The embedding is fitted to the average, and its scores are calibrated, as at the end of a run.

    ``shards`` are those of the runs. The record of the average has the steps and the seconds of all.

    Raises:
        ScannerError: ``average.other_runs`` where they differ in more than their seed; ``run.exists``,
            ``run.other_data``; and as ``load`` and ``calibrate_scores`` do.
    """
    if (out / NAME).exists():
        raise ScannerError(ErrorCode.RUN_EXISTS, f"{out} already holds a run.", "Give another --out.")
    checkpoints = [load(run) for run in runs]
    first = checkpoints[0]
    for run, one in zip(runs, checkpoints, strict=True):
        _check(run, one, first)
    cutouts, held_out = (open_cutouts(shards, first.config, split) for split in (TRAIN, VALIDATE))
    if cutouts.digest != first.data["manifest_sha256"]:
        raise ScannerError(ErrorCode.RUN_OTHER_DATA, f"{shards} are not the shards of these runs.")
    weights = {name: torch.stack([one.weights[name] for one in checkpoints]).mean(dim=0) for name in first.weights}
    progress = {
        **first.progress,
        "step": sum(one.progress["step"] for one in checkpoints),
        "seconds": sum(one.progress["seconds"] for one in checkpoints),
    }
    data = {**first.data, "averaged": [one.weights_sha256 for one in checkpoints]}
    mean = replace(first, weights=weights, progress=progress, data=data)
    graph = mean.embedding()
    device = torch.device("cpu")
    if not first.config.score.frozen:
        fit_embedding(graph, cutouts, first.config, device)
    counts = calibrate_scores(graph, held_out, first.config, device)
    mean = replace(mean, weights=graph.state_dict(), data={**data, "calibrated_on": counts})
    make_folder(out)
    save(mean, out / NAME)
    return mean


def _check(run: Path, one: Checkpoint, first: Checkpoint) -> None:
    """Refuse a run that does not differ from the first in its seed alone."""
    same = replace(one.config, run=first.config.run) == first.config
    same &= all(one.data.get(key) == first.data.get(key) for key in ("began_with", "recipe", "manifest_sha256"))
    if not (one.is_scored and one.progress["finished"] and same):
        raise ScannerError(
            ErrorCode.AVERAGE_OTHER_RUNS,
            f"{run} cannot be averaged with the others: it is not a finished third stage of the same configuration, "
            "shards and first weights.",
            "Give runs that differ in [run] seed alone.",
        )
