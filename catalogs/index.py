"""The index of a catalogue: Annoy shards over bounded numbers of rows, brought up to date tile by tile.

An index is never wrong, only incomplete: it vouches for tile files by their identity, and what it does not vouch for
is searched exactly. A shard is rebuilt when a tile of its own changed or went, or when it has room for new tiles; all
others are left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from catalogs import reading, shards
from catalogs.atomic import locked, remove_stale
from catalogs.errors import ScannerError
from catalogs.footers import Footer, fingerprint
from catalogs.shards import Covered, Shard

if TYPE_CHECKING:
    from catalogs.store import Catalogue

log = logging.getLogger(__name__)

TREES = 10  # recall comes from ``search_k``; more trees cost disk and build time
SEED = 1
SHARD_ROWS = 262_144  # 1.2 GB of memory at most to build at 384 dimensions, as measured


@dataclass(frozen=True)
class IndexReport:
    """What ``build`` did: ``rows`` are indexed now, ``skipped`` have no sound vector, ``bytes`` lie on disk."""

    tiles: int
    rows: int
    skipped: int
    bytes: int
    built: tuple[str, ...]
    kept: tuple[str, ...]


def build(catalogue: Catalogue, trees: int = TREES, seed: int = SEED, shard_rows: int = SHARD_ROWS) -> IndexReport:
    """Bring the index up to date; only shards with new, changed or vanished tiles are built.

    A second process waits for the first. Killed at any moment it leaves an index that answers; the next run finishes.
    Raises ``ScannerError`` ``output.full``, ``output.read_only``.
    """
    folder = catalogue.path / "index"
    with locked(folder / ".lock"):
        remove_stale(folder)
        found = catalogue.footers()
        standing = _standing(catalogue, folder, trees, seed)
        plan = assign(
            {name: [tile.tile for tile in shard.tiles] for name, shard in standing.items()}, found, shard_rows
        )
        built, kept, skipped = {}, {}, 0
        for name, tiles in plan.items():
            shard = standing.get(name)
            if shard and _current(catalogue, shard, tiles):
                kept[name] = shard
            else:
                built[name], left_out = _build_shard(catalogue, name, tiles, trees, seed)
                skipped += left_out
        _remove_others(folder, [*built.values(), *kept.values()])
    return _report(built, kept, skipped)


def coverage(catalogue: Catalogue) -> int:
    """How many rows the index answers for now; all others are searched exactly. Raises as ``covering`` does."""
    standing = covering(catalogue, catalogue.footers())
    return sum(c.rows for shard, tiles in standing for c, tile in zip(shard.tiles, tiles, strict=True) if tile)


def assign(standing: Mapping[str, Sequence[str]], found: Sequence[Footer], capacity: int) -> dict[str, list[Footer]]:
    """Which tiles go to which shard: each stays where it is; new ones fill the emptiest shard, then new shards.

    A tile with more rows than ``capacity`` has a shard of its own. Shards that lost all their tiles are left out.
    """
    by_name = {footer.tile: footer for footer in found if footer.rows}
    plan = {name: [by_name.pop(tile) for tile in tiles if tile in by_name] for name, tiles in standing.items()}
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


def covering(catalogue: Catalogue, found: Sequence[Footer]) -> Iterator[tuple[Shard, list[Footer | None]]]:
    """The shards that can be searched, each with the footers of its tiles, None where the tile changed since.

    Raises ``ScannerError`` ``index.no_sidecar``, ``index.dimension``: a set-up that must not be searched. A damaged
    shard is named in a warning and left out.
    """
    folder = catalogue.path / "index"
    by_name = {footer.tile: footer for footer in found}
    _refuse_strangers(folder)
    for path in sorted(folder.glob("shard-*.json")):
        try:
            shard = _read_whole(path, catalogue.info.dim)
        except ScannerError as error:
            if error.code == "index.dimension":
                raise
            log.warning("%s Its tiles are searched exactly. %s", error.message, error.hint)
            continue
        if shard and shard.model_sha256 == catalogue.info.model_sha256:
            footers = [by_name.get(tile.tile) for tile in shard.tiles]
            pairs = zip(footers, shard.tiles, strict=True)
            yield shard, [f if f and _same(catalogue, f, tile) else None for f, tile in pairs]


def _read_whole(path: Path, dim: int) -> Shard | None:
    """A shard whose data files are sound; None for one that was never finished. Read again if it was just replaced."""
    shard = shards.read(path, dim)
    with contextlib.suppress(ScannerError):
        if shard.content:
            shards.check(shard, path.parent)
        return shard if shard.content else None
    shard = shards.read(path, dim)
    shards.check(shard, path.parent)
    return shard


def _refuse_strangers(folder: Path) -> None:
    for path in folder.glob("*.ann"):
        if not (folder / f"{path.stem.rsplit('-', 1)[0]}.json").exists():
            raise ScannerError(
                "index.no_sidecar",
                f"The Annoy file {path} has no sidecar that says what it is; Annoy would crash on a wrong guess.",
                "Put its .json back, or bring the index up to date: scanner index",
            )


def _standing(catalogue: Catalogue, folder: Path, trees: int, seed: int) -> dict[str, Shard]:
    standing: dict[str, Shard] = {}
    for path in sorted(folder.glob("shard-*.json")):
        try:
            shard = _read_whole(path, catalogue.info.dim)
        except ScannerError as error:
            log.warning("%s It is built anew.", error.message)
            continue
        if shard and (shard.trees, shard.seed, shard.model_sha256) == (trees, seed, catalogue.info.model_sha256):
            standing[shard.name] = shard
    return standing


def _current(catalogue: Catalogue, shard: Shard, tiles: Sequence[Footer]) -> bool:
    if [tile.tile for tile in shard.tiles] != [footer.tile for footer in tiles]:
        return False
    return all(_same(catalogue, footer, tile) for footer, tile in zip(tiles, shard.tiles, strict=True))


def _same(catalogue: Catalogue, footer: Footer, tile: Covered) -> bool:
    """By size and time where they agree; a copied catalogue has new times, and is compared by content."""
    if footer.size != tile.size:
        return False
    return footer.mtime_ns == tile.mtime_ns or fingerprint(catalogue.tile_path(footer.tile)) == tile.fingerprint


def _build_shard(catalogue: Catalogue, name: str, tiles: Sequence[Footer], trees: int, seed: int) -> tuple[Shard, int]:
    builder = shards.Builder(name, catalogue.info.dim, trees, seed, catalogue.info.model_sha256)
    for footer in tiles:
        path = catalogue.tile_path(footer.tile)
        try:
            builder.add(path, reading.groups(path, shards.COLUMNS))
        except ScannerError as error:
            log.warning("%s Not indexed. %s", error.message, error.hint)
    content = json.dumps([[tile.tile, tile.fingerprint] for tile in builder.tiles] + [[trees, seed]])
    return builder.save(catalogue.path / "index", hashlib.sha256(content.encode()).hexdigest()[:12]), builder.skipped


def _report(built: Mapping[str, Shard], kept: Mapping[str, Shard], skipped: int) -> IndexReport:
    every = [*built.values(), *kept.values()]
    return IndexReport(
        tiles=sum(len(shard.tiles) for shard in every),
        rows=sum(shard.rows for shard in every),
        skipped=skipped,
        bytes=sum(shard.bytes for shard in every),
        built=tuple(sorted(built)),
        kept=tuple(sorted(kept)),
    )


def _remove_others(folder: Path, shard_list: Sequence[Shard]) -> None:
    keep = {f"{shard.name}.json" for shard in shard_list}
    keep |= {path.name for shard in shard_list for path in (shard.annoy_path(folder), shard.rows_path(folder))}
    for pattern in ("shard-*.json", "*.ann", "*.rows.npy"):
        for path in folder.glob(pattern):
            if path.name not in keep:
                path.unlink(missing_ok=True)
