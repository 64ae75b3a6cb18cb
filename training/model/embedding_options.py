"""Options of an export: how pooled patches become the embedding, chosen after the training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EmbeddingOptions:
    """How the tokens of a cutout become its embedding; see ``training.model.embedding.projection``.

    ``pooling`` of patches is one of ``training.config.POOLINGS``. ``whitening`` (0 to 1) levels the variances of the
    principal axes. ``steadiness`` lowers the weight of directions in which one object changes when it is turned,
    noisier or without a band. ``emphasis`` raises the weight of the direction towards simulated lenses.
    """

    pooling: str = "gaussian"
    whitening: float = 0.6
    steadiness: float = 1.0
    emphasis: float = 2.0

    def __str__(self) -> str:
        numbers = (f"{name} {getattr(self, name):g}" for name in ("whitening", "steadiness", "emphasis"))
        return ", ".join([self.pooling, *numbers])


DEFAULT = EmbeddingOptions()
"""What a shipped model is exported with."""
