"""How pooled patches become the vector: what may be chosen at export, after the training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """``pooling`` of patches (``training.model.pooling``); partial ``whitening`` of the principal axes (0 to 1); how
    much less directions count along which an object changes when it is seen otherwise (``steadiness``); and how many
    times more than other axes that of simulated lenses counts (``emphasis``). See ``export.graph.projection``."""

    pooling: str = "gaussian"
    whitening: float = 0.6
    steadiness: float = 1.0
    emphasis: float = 2.0

    def __str__(self) -> str:
        numbers = (f"{name} {getattr(self, name):g}" for name in ("whitening", "steadiness", "emphasis"))
        return ", ".join([self.pooling, *numbers])
