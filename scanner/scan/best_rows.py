"""The rows of a tile that look most like examples: all that is stored of a sweep, such as a dense grid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = Mapping[str, NDArray[Any]]
_SCORE = ""  # a column that no catalogue has


@dataclass(frozen=True)
class Keep:
    """The ``best`` rows of each tile, by the dot product of embedding and ``weights`` [D].

    ``like`` is the digest of what the weights were learned from. The weights themselves may differ in their last bits
    on another processor, where the same scan can be resumed.

    The number is per tile, not per scan, so that a tile's file depends on the tile alone: tiles are scanned anywhere,
    in any order. The best N of the whole scan are among these rows.
    """

    best: int
    weights: tuple[float, ...]
    like: str

    def settings(self) -> dict[str, Any]:
        """The settings that determine rows, as JSON values."""
        return {"best": self.best, "like": self.like}

    def scores(self, embedding: NDArray[np.float32]) -> NDArray[np.float64]:
        """Scores [N] of vectors [N, D]; a row's score does not depend on the other rows, to the last bit."""
        # A matrix product would add up in an order that depends on the number of rows.
        return np.asarray((embedding.astype(np.float64) * np.array(self.weights)).sum(axis=1))


class Best:
    """The best rows of a tile while its rows stream by; at most three times as many are in memory."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._pending: list[dict[str, NDArray[Any]]] = []
        self._count = 0

    def add(self, rows: Rows) -> None:
        """Add rows of the tile: columns by name, ``embedding`` and ``object_id`` among them."""
        self._pending.append({**rows, _SCORE: self._keep.scores(rows["embedding"])})
        self._count += len(rows["ra"])
        # Sorting now and then costs less than with every batch.
        if self._count >= 2 * self._keep.best:
            self._pending = [self._reduced()]
            self._count = len(self._pending[0]["ra"])

    def rows(self) -> Iterator[Rows]:
        """The best rows, in the order of the tile."""
        if self._pending:
            best = self._reduced()
            del best[_SCORE]
            yield best

    def _reduced(self) -> dict[str, NDArray[Any]]:
        """The best rows; of equal ones the first in the tile."""
        joined = {name: np.concatenate([rows[name] for rows in self._pending]) for name in self._pending[0]}
        # By score, then by id; sorted back into the order of the tile.
        chosen = np.sort(np.lexsort((joined["object_id"], -joined[_SCORE]))[: self._keep.best])
        return {name: values[chosen] for name, values in joined.items()}


def parse(text: str) -> int:
    """Parse the N of ``best:N``.

    Raises:
        ValueError: The text has another form.
    """
    match = re.fullmatch("best:([1-9][0-9]{0,8})", text)
    if not match:
        raise ValueError(f"{text!r} is not best:N, such as best:100")
    return int(match[1])
