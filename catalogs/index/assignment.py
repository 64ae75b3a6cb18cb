"""Which tiles belong to which shard of the index."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from catalogs.errors import ScannerError
from catalogs.index import shards
from catalogs.index.coverage import read_whole
from catalogs.index.shards import Shard
from catalogs.store.footers import Footer

if TYPE_CHECKING:
    from catalogs.store.tile_store import TileStore

log = logging.getLogger(__name__)

Assignment = dict[str, list[Footer]]
"""Names of shards, and their tiles in order."""


def find_shards(catalogue: TileStore, folder: Path, all_bytes: bool = False) -> dict[str, Shard]:
    """Find the undamaged shards of the catalogue's model, by name; with ``all_bytes``, every byte is read."""
    by_name: dict[str, Shard] = {}
    for path in sorted(folder.glob("shard-*.json")):
        try:
            shard = read_whole(path, catalogue.info.dim)
            if shard and all_bytes:
                shards.check_all(shard, folder)
        except ScannerError as error:
            log.warning("%s It is rebuilt.", error.message)
            continue
        if shard and shard.model_sha256 == catalogue.info.model_sha256:
            by_name[shard.name] = shard
    return by_name


def assign(before: Mapping[str, Sequence[str]], footers: Sequence[Footer], capacity: int) -> Assignment:
    """Assign tiles to shards: each stays where it is; new ones fill the emptiest shard, then new shards.

    A tile with more rows than ``capacity`` has a shard of its own. Shards that lost all their tiles are dropped.
    """
    by_name = {footer.tile: footer for footer in footers if footer.rows}
    # Tiles stay in their shard, so that it need not be rebuilt.
    assignment = {name: [by_name.pop(tile) for tile in tiles if tile in by_name] for name, tiles in before.items()}
    names = (f"shard-{number:05d}" for number in range(len(footers) + len(assignment) + 1))
    unused = (name for name in names if name not in assignment)
    # New tiles go to the shard with most free rows, and to new shards after it.
    free = {name: capacity - sum(footer.rows for footer in tiles) for name, tiles in assignment.items() if tiles}
    name = max(free, key=lambda name: free[name], default="")
    for footer in by_name.values():
        if free.get(name, 0) < footer.rows:
            name = next(unused)
            assignment[name], free[name] = [], capacity
        assignment[name].append(footer)
        free[name] -= footer.rows
    return {name: tiles for name, tiles in assignment.items() if tiles}
