"""Embeddings of a checkpoint by any options: every set is encoded once, the options are a matrix product behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from catalogs.store.vectors import unit
from scanner.survey.bands import BANDS
from training.config import POOLINGS, Config, Data
from training.evaluate.embeddings import Embeddings, WindowSet
from training.evaluate.models import Flux, Vectors
from training.evaluate.sets.lenses import central
from training.loop.batches import CENTRED, make_batch, open_cutouts
from training.loop.checkpoint import Checkpoint
from training.loop.statistics import draw_keys
from training.model.embedding import projection
from training.model.embedding_options import EmbeddingOptions
from training.model.pixels import missing_share
from training.model.pooling import pool

BATCH = 64
Bake = Callable[[Vectors], Vectors]
"""From rows of ``Encoded`` to unit vectors."""


class Encoded:
    """The network of a checkpoint, from cutouts to rows [N, 4 D + B] that all embeddings are made of.

    That is the vectors of every pooling, in the order of ``POOLINGS``, and the share of every band that is missing.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._model, config = checkpoint.model(), checkpoint.config.model
        self.side, self._bands = config.window, [BANDS.index(band) for band in config.bands]

    @torch.no_grad()
    def embed(self, flux: Flux) -> Vectors:
        rows = []
        for start in range(0, len(flux), BATCH):
            part = np.ascontiguousarray(central(flux[start : start + BATCH], self.side)[:, self._bands])
            pixels, valid = self._model.pixels.stretch(torch.from_numpy(part))
            tokens = self._model.encoder(self._model.pixels.filled(pixels, valid))
            rows.append(torch.cat([*(pool(tokens, how) for how in POOLINGS), missing_share(valid)], dim=1).numpy())
        return np.concatenate(rows)


def baked(checkpoint: Checkpoint, options: EmbeddingOptions) -> Bake:
    """Make the steps of ``training.model.embedding.EmbeddingGraph`` behind the pooling."""
    statistics, dim = checkpoint.statistics[options.pooling], checkpoint.config.model.dim
    matrix = projection(statistics, options).numpy()
    first, mean, missing = POOLINGS.index(options.pooling) * dim, statistics.mean.numpy(), statistics.missing.numpy()

    def bake(rows: Vectors) -> Vectors:
        # Rows are [N, 4 D + B]. The chosen pooling is centred, less the mean effect of missing bands.
        return unit((rows[:, first : first + dim] - mean - rows[:, len(POOLINGS) * dim :] @ missing) @ matrix)

    return bake


class Baked(Embeddings):
    """Embeddings made of the rows of others, without another run of the network."""

    def __init__(self, whole: Embeddings, bake: Bake) -> None:
        self._whole, self._bake, self.side = whole, bake, whole.side

    def changed(self, windows: WindowSet, name: str, change: Callable[[Flux], Flux]) -> Vectors:
        return self._bake(self._whole.changed(windows, name, change))


def windows_of(shards: Path, config: Config, most: int) -> Iterator[Flux]:
    """Yield at most ``most`` training cutouts, centred, in parts [n, 5, S, S]; absent bands are NaN."""
    cutouts = open_cutouts(shards, replace(config, data=Data()))
    channels = [BANDS.index(band) for band in config.model.bands]
    keys = draw_keys(cutouts, most, config.run.seed)
    for start in range(0, len(keys), BATCH):
        part = make_batch(cutouts, keys[start : start + BATCH], CENTRED, config).flux.numpy()
        # The network's bands go to their places among the five of the survey.
        flux = np.full((len(part), len(BANDS), *part.shape[2:]), np.nan, np.float32)
        flux[:, channels] = part
        yield flux
