"""Settings of an index: how the files of its shards are built, and how they are searched."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IndexSettings:
    """How a shard's file is built, and how it is searched.

    ``dims`` leading numbers of each vector are indexed. ``trees`` and ``seed`` are as the engine takes them. ``effort``
    is what a query may cost in a shard (Annoy's ``search_k``, faiss's ``nprobe``); ``candidates`` are ranked again.
    """

    engine: str
    dims: int
    trees: int
    seed: int
    effort: int
    candidates: int

    @property
    def file_key(self) -> tuple[str, int, int, int]:
        """What the file depends on: if it changes, the file is rebuilt."""
        return self.engine, self.dims, self.trees, self.seed
