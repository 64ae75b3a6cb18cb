"""Keeping only the rows that look most like examples: for sweeps, such as dense grids, too large to store."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Keep:
    """The ``best`` rows of each tile, by the dot product of embedding and ``weights`` [D].

    ``like`` is the digest of what the weights were learned from, not of the weights: their last bits depend on the
    processor, and the same scan goes on on another one.

    It is a number of rows a tile, not of the whole scan, so that a tile's file depends on nothing but the tile: tiles
    are scanned anywhere, in any order, and again. The best N of the whole scan are among them.
    """

    best: int
    weights: tuple[float, ...]
    like: str

    def settings(self) -> dict[str, Any]:
        """What of this makes rows, as JSON values."""
        return {"best": self.best, "like": self.like}

    def scores(self, embedding: NDArray[np.float32]) -> NDArray[np.float64]:
        """Scores [N] of vectors [N, D]; each row's own, to the last bit, whatever rows it comes with."""
        return np.asarray((embedding.astype(np.float64) * np.array(self.weights)).sum(axis=1))


class Best:
    """The best rows of a tile so far, while its rows stream by; at most three times as many are held."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._held: list[dict[str, NDArray[Any]]] = []
        self._count = 0

    def add(self, rows: Rows) -> None:
        """More rows of the tile: columns by name, ``embedding`` and ``object_id`` among them."""
        self._held.append({**rows, "": self._keep.scores(rows["embedding"])})
        self._count += len(rows["ra"])
        if self._count >= 2 * self._keep.best:
            self._held = [self._sifted()]
            self._count = len(self._held[0]["ra"])

    def rows(self) -> Iterator[Rows]:
        """What is left, in the order of the tile."""
        if self._held:
            best = self._sifted()
            del best[""]
            yield best

    def _sifted(self) -> dict[str, NDArray[Any]]:
        """The best rows; of equal ones the first in the tile."""
        joined = {name: np.concatenate([held[name] for held in self._held]) for name in self._held[0]}
        chosen = np.sort(np.lexsort((joined["object_id"], -joined[""]))[: self._keep.best])
        return {name: values[chosen] for name, values in joined.items()}


def parse(text: str) -> int:
    """The N of ``best:N``; ``ValueError``."""
    found = re.fullmatch("best:([1-9][0-9]{0,8})", text)
    if not found:
        raise ValueError(f"{text!r} is not best:N, such as best:100")
    return int(found[1])
