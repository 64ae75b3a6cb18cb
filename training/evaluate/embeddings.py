"""The vectors of one model: every set of windows is embedded once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from catalogs.store.vectors import unit
from training.evaluate.models import Embedder, Flux, Vectors

Fit = Callable[[Flux], Embedder]
"""An embedder for a set of windows: an encoder is the same for all of them, a baseline has axes to fit."""


class WindowSet(Protocol):
    """Windows under a name that no other set of the same evaluation has."""

    @property
    def name(self) -> str: ...
    @property
    def flux(self) -> Flux: ...


class Embeddings:
    """Vectors by set, and by what was done to the set's windows; ``side``: pixels of the window that the model sees."""

    def __init__(self, fit: Fit, side: int) -> None:
        self._fit, self.side = fit, side
        self._fitted: dict[str, Embedder] = {}
        self._vectors: dict[tuple[str, str], Vectors] = {}

    def of(self, windows: WindowSet) -> Vectors:
        """Unit vectors [N, D] of a set's own windows."""
        return self.changed(windows, "", lambda flux: flux)

    def changed(self, windows: WindowSet, name: str, change: Callable[[Flux], Flux]) -> Vectors:
        """Unit vectors [N, D] of the windows after ``change``, by the model as it was fitted to them before."""
        key = (windows.name, name)
        if key not in self._vectors:
            if windows.name not in self._fitted:
                self._fitted[windows.name] = self._fit(windows.flux)
            self._vectors[key] = self._fitted[windows.name].embed(change(windows.flux))
        return self._vectors[key]


class ShortEmbeddings(Embeddings):
    """The first ``dims`` dimensions of another's vectors, as unit vectors: nothing is embedded again."""

    def __init__(self, whole: Embeddings, dims: int) -> None:
        self._whole, self._dims, self.side = whole, dims, whole.side

    def changed(self, windows: WindowSet, name: str, change: Callable[[Flux], Flux]) -> Vectors:
        return unit(np.asarray(self._whole.changed(windows, name, change)[:, : self._dims]))
