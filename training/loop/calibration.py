"""Calibration of the scores: log-odds at a stated prevalence, from held-out cutouts that no weight was fitted to."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.ranking.calibration import fit_curve
from training.config import Config
from training.loop.batches import CENTRED, Cutouts, make_batch
from training.loop.statistics import draw_keys
from training.model.embedding import EmbeddingGraph

log = logging.getLogger(__name__)

AT_ONCE = 256
FEWEST = 10


def calibrate_scores(
    graph: EmbeddingGraph, validation: Cutouts, config: Config, device: torch.device
) -> dict[str, tuple[int, int]]:
    """Set slope and offset of each score from the held-out painted cutouts of its class and from ordinary objects.

    Returns the numbers of both by class. Ordinary are the objects of images as they are: hosts and look-alikes that
    were painted or simulated are far more frequent among cutouts than on the sky, and blank places are no objects. A
    logistic curve through both, each weighing half, gives the likelihood ratio; the prevalence of the configuration
    turns it into log-odds.

    Raises:
        ScannerError: ``shards.empty`` if no cutout of a class is held out, or none of an ordinary object.
    """
    head, score = graph.head, config.score
    assert head is not None
    odds, rows = held_out_odds(graph, validation, config, device)
    kinds, counts = validation.kinds[rows], {}
    prior = np.log(score.prevalence / (1 - score.prevalence))
    for k, name in enumerate(score.names):
        like = odds[validation.is_painted[rows] & (kinds == k), k]
        other = odds[validation.is_ordinary[rows] & (kinds != k), k]
        if min(len(like), len(other)) < FEWEST:
            raise ScannerError(
                ErrorCode.SHARDS_EMPTY,
                f"{len(like)} painted cutouts of {name!r} and {len(other)} of ordinary objects are held out: too few "
                "to calibrate scores.",
            )
        curve = fit_curve(like, other)
        if curve.slope == 0:
            log.warning("The score %r does not tell its class from ordinary objects: it is the same for all.", name)
        head.slope[k], head.offset[k] = curve.slope, curve.offset + prior
        counts[name] = (len(like), len(other))
    return counts


@torch.no_grad()
def held_out_odds(
    graph: EmbeddingGraph, validation: Cutouts, config: Config, device: torch.device
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Compute the log-odds [N, K] of held-out cutouts before the calibration, and their rows [N]."""
    head = graph.eval().head
    assert head is not None
    keys = draw_keys(validation, config.run.embed_rows, config.run.seed)
    parts = [np.zeros((0, head.given))]
    for first in range(0, len(keys), AT_ONCE):
        flux = make_batch(validation, keys[first : first + AT_ONCE], CENTRED, config).flux.to(device)
        parts.append(head.log_odds(head(graph.encode(flux)[0])).double().cpu().numpy())
    return np.concatenate(parts), keys[:, 1]
