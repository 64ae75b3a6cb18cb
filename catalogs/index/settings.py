"""Settings of an index: how the files of its shards are made, and how they are asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IndexSettings:
    """How a shard's file is made, and how it is asked.

    ``dims`` leading numbers of each vector; ``trees`` and ``seed`` as the engine takes them; ``effort`` is what a
    question may cost in a shard (Annoy's ``search_k``, faiss's ``nprobe``), ``candidates`` how many are ranked again.
    """

    engine: str
    dims: int
    trees: int
    seed: int
    effort: int
    candidates: int

    @property
    def made(self) -> tuple[str, int, int, int]:
        """What the file depends on: with another, it is built anew."""
        return self.engine, self.dims, self.trees, self.seed
