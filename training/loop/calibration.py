"""Calibration of the scores: log-odds at a stated prevalence, from held-out cutouts that no weight was fitted to."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.ranking.calibration import fit_curve
from training.config import Config
from training.loop.batches import CENTRED, Cutouts, make_batch
from training.loop.statistics import draw_keys
from training.model.embedding import EmbeddingGraph

AT_ONCE = 256


def calibrate_scores(graph: EmbeddingGraph, validation: Cutouts, config: Config, device: torch.device) -> None:
    """Set slope and offset of each score from the held-out cutouts of its class and of all others.

    A logistic curve through both, each weighing half, gives the likelihood ratio; the prevalence of the configuration
    turns it into log-odds.

    Raises:
        ScannerError: ``shards.empty`` if no cutout of a class is held out.
    """
    head, score = graph.head, config.score
    assert head is not None
    odds, kinds = held_out_odds(graph, validation, config, device)
    prior = np.log(score.prevalence / (1 - score.prevalence))
    for k, name in enumerate(score.names):
        if not 1 < (kinds == k).sum() < len(kinds) - 1:
            raise ScannerError(
                ErrorCode.SHARDS_EMPTY, f"Too few cutouts of {name!r} and of others are held out to calibrate scores."
            )
        curve = fit_curve(odds[kinds == k, k], odds[kinds != k, k])
        head.slope[k], head.offset[k] = curve.slope, curve.offset + prior


@torch.no_grad()
def held_out_odds(
    graph: EmbeddingGraph, validation: Cutouts, config: Config, device: torch.device
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Compute the log-odds [N, K] of held-out cutouts before the calibration, and their classes [N]."""
    head = graph.eval().head
    assert head is not None
    keys = draw_keys(validation, config.run.embed_rows, config.run.seed)
    parts = []
    for first in range(0, len(keys), AT_ONCE):
        flux = make_batch(validation, keys[first : first + AT_ONCE], CENTRED, config).flux.to(device)
        parts.append(head.log_odds(head(graph.encode(flux)[0])).double().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, head.given)), validation.kinds[keys[:, 1]]
