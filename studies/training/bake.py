"""One trained network with different embeddings: pooling, whitening, steadiness, emphasis, dimensions, 8 turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalogs.store.vectors import unit
from studies.training.trees import recall
from studies.training.vectors import Bake, Baked, Encoded, baked, windows_of
from training.config import POOLINGS
from training.evaluate.embeddings import Embeddings, ShortEmbeddings
from training.evaluate.models import Flux, TurnAverage, Vectors
from training.evaluate.results import Results
from training.evaluate.run import Bench
from training.loop.checkpoint import Checkpoint, load
from training.model.embedding_options import EmbeddingOptions

TASKS = ("retrieval", "few-shot", "probe", "galaxy", "invariance")
SHORT = 64
SHIPPED = EmbeddingOptions()
VARIANTS = (
    SHIPPED,
    *(EmbeddingOptions(pooling=how) for how in POOLINGS if how != SHIPPED.pooling),
    *(EmbeddingOptions(whitening=w) for w in (0.0, 0.3, 0.8, 1.0)),
    *(EmbeddingOptions(steadiness=s) for s in (0.0, 0.5, 4.0)),
    *(EmbeddingOptions(whitening=w, steadiness=0.0) for w in (0.0, 1.0)),
    *(EmbeddingOptions(emphasis=k) for k in (0.0, 1.0)),
    EmbeddingOptions(whitening=0.0, steadiness=0.0, emphasis=0.0),
)
"""Options that are compared, the shipped ones first."""


@dataclass(frozen=True)
class Row:
    """``trees`` is the recall@10 of an index of trees over 64 leading dimensions; NaN if it was not measured."""

    name: str
    results: Results
    trees: float


class _Baking:
    """A network with embedding options behind it, as one embedder."""

    def __init__(self, encoded: Encoded, bake: Bake) -> None:
        self._encoded, self._bake, self.side = encoded, bake, encoded.side

    def embed(self, flux: Flux) -> Vectors:
        return self._bake(self._encoded.embed(flux))


def bake(
    run: Path,
    shards: Path,
    data: Path,
    most: int,
    say: Callable[[str], None],
    variants: tuple[EmbeddingOptions, ...] = VARIANTS,
) -> Iterator[Row]:
    """Yield a row for each variant, then for the first one as pooled, shortened, and averaged over eight turns.

    ``most`` cutouts of ``shards`` are what the trees are grown over.
    """
    checkpoint = load(run)
    encoded = Encoded(checkpoint)
    rows = Embeddings(lambda _: encoded, encoded.side)
    bench = Bench(data, TASKS, side=checkpoint.config.model.window, say=say)
    say("encoding the cutouts that trees are grown over")
    stored = np.concatenate([encoded.embed(part) for part in windows_of(shards, checkpoint.config, most)])
    for options in variants:
        how = baked(checkpoint, options)
        yield Row(str(options), bench.measured(str(options), Baked(rows, how)), recall(how(stored)))
    first = baked(checkpoint, variants[0])
    plain = _as_pooled(checkpoint, variants[0])
    yield Row("as pooled, not centred", bench.measured("as pooled", Baked(rows, plain)), recall(plain(stored)))
    short = ShortEmbeddings(Baked(rows, first), SHORT)
    yield Row(f"the first, {SHORT} dimensions", bench.measured("short", short), recall(unit(first(stored)[:, :SHORT])))
    eight = TurnAverage(_Baking(encoded, first))
    turned = Embeddings(lambda _: eight, eight.side)
    # No index is measured here: ``stored`` holds each cutout in one orientation only.
    yield Row("the first, mean of 8 turns", bench.measured("8 turns", turned), float("nan"))


def _as_pooled(checkpoint: Checkpoint, options: EmbeddingOptions) -> Bake:
    dim = checkpoint.config.model.dim
    first = POOLINGS.index(options.pooling) * dim
    return lambda rows: unit(rows[:, first : first + dim])
