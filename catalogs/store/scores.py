"""Scores of a model: what they are, as its contract says, and the columns that they become."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

PREFIX = "score_"
LENS_SCORE = f"{PREFIX}lens"
"""Column of the first score."""
_NAME = re.compile("[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Scores:
    """Scores that a model gives beside the embedding: natural log-odds that a cutout shows what the score is named for.

    ``names`` are lower-case identifiers, ``lens`` first. The log-odds hold where each class is the share ``prevalence``
    of all objects. ``population`` says in a sentence what they were calibrated on.

    Raises:
        ValueError: A name, the prevalence or the population is not usable.
    """

    names: tuple[str, ...]
    prevalence: float
    population: str

    def __post_init__(self) -> None:
        names = list(self.names)
        if not names or names[0] != "lens":
            raise ValueError(f"names {names} must begin with lens")
        if odd := [name for name in names if not _NAME.fullmatch(name)]:
            raise ValueError(f"names: {odd[0][:80]!r} cannot name a column; write a to z, 0 to 9 and _")
        if len(set(names)) != len(names):
            raise ValueError(f"names {names} repeat")
        if not 0 < self.prevalence < 1:
            raise ValueError(f"prevalence {self.prevalence} must lie between 0 and 1")
        if not self.population.strip() or not self.population.isprintable():
            raise ValueError("population must be a sentence without control characters")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, such as ``score_lens``."""
        return tuple(f"{PREFIX}{name}" for name in self.names)

    def to_dict(self) -> dict[str, Any]:
        """Make JSON values."""
        return {**asdict(self), "names": list(self.names)}
