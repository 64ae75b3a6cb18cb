"""Embeddings of one model: every set of cutouts is embedded once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from catalogs.store.vectors import unit
from training.evaluate.models import Embedder, Floats, Flux, Scoring, Vectors

Fit = Callable[[Flux], Embedder]
"""Makes the embedder of a set: an encoder is the same for all of them, a baseline is fitted to each."""


class WindowSet(Protocol):
    """Cutouts with a name that is unique within an evaluation."""

    @property
    def name(self) -> str: ...
    @property
    def flux(self) -> Flux: ...


class Embeddings:
    """Embeddings by set and by change of its cutouts; ``side`` is the side in pixels of what the model sees."""

    def __init__(self, fit: Fit, side: int) -> None:
        self._fit, self.side = fit, side
        self._fitted: dict[str, Embedder] = {}
        self._vectors: dict[tuple[str, str], Vectors] = {}
        self._scores: dict[str, Floats | None] = {}

    def of(self, windows: WindowSet) -> Vectors:
        """Embed the cutouts of a set as they are: unit vectors [N, D]."""
        return self.changed(windows, "", lambda flux: flux)

    def changed(self, windows: WindowSet, name: str, change: Callable[[Flux], Flux]) -> Vectors:
        """Embed the cutouts after ``change``, by the model fitted to them before it: unit vectors [N, D]."""
        key = (windows.name, name)
        if key not in self._vectors:
            self._vectors[key] = self._model(windows).embed(change(windows.flux))
        return self._vectors[key]

    def score(self, windows: WindowSet) -> Floats | None:
        """Return the lens scores [N] of a set, log-odds; None for a model without."""
        if windows.name not in self._scores:
            model = self._model(windows)
            self._scores[windows.name] = model.score(windows.flux) if isinstance(model, Scoring) else None
        return self._scores[windows.name]

    def _model(self, windows: WindowSet) -> Embedder:
        # A baseline is fitted to the unchanged cutouts, so that it cannot adapt to a change.
        if windows.name not in self._fitted:
            self._fitted[windows.name] = self._fit(windows.flux)
        return self._fitted[windows.name]


class ShortEmbeddings(Embeddings):
    """The first ``dims`` dimensions of other embeddings, scaled to unit length."""

    def __init__(self, whole: Embeddings, dims: int) -> None:
        self._whole, self._dims, self.side = whole, dims, whole.side

    def changed(self, windows: WindowSet, name: str, change: Callable[[Flux], Flux]) -> Vectors:
        return unit(np.asarray(self._whole.changed(windows, name, change)[:, : self._dims]))

    def score(self, windows: WindowSet) -> Floats | None:
        return self._whole.score(windows)
