"""How pooled patches become the vector: what may be chosen at export, after the training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """``pooling`` of patches (``training.pooling``), partial ``whitening`` of the principal axes (0 to 1), and how many
    times more than other axes that of simulated lenses counts (``emphasis``); see ``export.graph.projection``."""

    pooling: str = "gaussian"
    whitening: float = 0.5
    emphasis: float = 2.0

    def __str__(self) -> str:
        return f"{self.pooling}, whitening {self.whitening:g}, emphasis {self.emphasis:g}"
