"""Which tiles go to which shard of the index, and which shards a machine builds where several share the work.

What was agreed on is written down while several build, since what stands changes under their hands: ``plan.json``
beside the shards, which the next run that works alone takes up and removes.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from catalogs.atomic import locked, write_json
from catalogs.errors import ScannerError
from catalogs.index import shards
from catalogs.index.coverage import read_whole
from catalogs.index.shards import Shard
from catalogs.store.footers import Footer

if TYPE_CHECKING:
    from catalogs.store.tile_store import TileStore

log = logging.getLogger(__name__)

Plan = dict[str, list[Footer]]
"""Names of shards, and their tiles in order."""
Share = tuple[int, int]
"""Number, from 1, and count: the share ``(3, 8)`` is the third of eight."""
AGREED = "plan.json"


def standing(catalogue: TileStore, folder: Path, all_bytes: bool = False) -> dict[str, Shard]:
    """Shards that are sound and of the catalogue's model, by name; with ``all_bytes``, every byte is read."""
    found: dict[str, Shard] = {}
    for path in sorted(folder.glob("shard-*.json")):
        try:
            shard = read_whole(path, catalogue.info.dim)
            if shard and all_bytes:
                shards.check_all(shard, folder)
        except ScannerError as error:
            log.warning("%s It is built anew.", error.message)
            continue
        if shard and shard.model_sha256 == catalogue.info.model_sha256:
            found[shard.name] = shard
    return found


def assign(before: Mapping[str, Sequence[str]], found: Sequence[Footer], capacity: int) -> Plan:
    """Which tiles go to which shard: each stays where it is; new ones fill the emptiest shard, then new shards.

    A tile with more rows than ``capacity`` has a shard of its own. Shards that lost all their tiles are left out.
    """
    by_name = {footer.tile: footer for footer in found if footer.rows}
    plan = {name: [by_name.pop(tile) for tile in tiles if tile in by_name] for name, tiles in before.items()}
    numbers = (number for number in range(len(found) + len(plan) + 1) if f"shard-{number:05d}" not in plan)
    room = {name: capacity - sum(footer.rows for footer in tiles) for name, tiles in plan.items() if tiles}
    name = max(room, key=lambda name: room[name], default="")
    for footer in by_name.values():
        if room.get(name, 0) < footer.rows:
            name = f"shard-{next(numbers):05d}"
            plan[name], room[name] = [], capacity
        plan[name].append(footer)
        room[name] -= footer.rows
    return {name: tiles for name, tiles in plan.items() if tiles}


def agreed(folder: Path, stand: Mapping[str, Shard], found: Sequence[Footer], capacity: int, share: Share) -> Plan:
    """The shards of a share; the first machine that asks decides for all, whatever others have built meanwhile.

    Shards are dealt out by their place in the list, so that each is in exactly one share.
    """
    with locked(folder / ".plan.lock"):
        plan = assign(_written(folder) or _tiles(stand), found, capacity)
        write_json(folder / AGREED, {name: [footer.tile for footer in tiles] for name, tiles in plan.items()})
    number, count = share
    return {name: plan[name] for name in sorted(plan)[number - 1 :: count]}


def whole(folder: Path, stand: Mapping[str, Shard], found: Sequence[Footer], capacity: int) -> Plan:
    """All shards, as they were agreed on where several machines have built, for one that works alone."""
    return assign(_written(folder) or _tiles(stand), found, capacity)


def _tiles(stand: Mapping[str, Shard]) -> dict[str, list[str]]:
    return {name: [tile.tile for tile in shard.tiles] for name, shard in stand.items()}


def _written(folder: Path) -> dict[str, list[str]]:
    """What was agreed on; nothing where that cannot be read."""
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
        found = json.loads((folder / AGREED).read_text(encoding="utf-8"))
        return {str(name): [str(tile) for tile in tiles] for name, tiles in found.items()}
    return {}
