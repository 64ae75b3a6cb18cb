"""What the index covers: undamaged shards, and which of their tiles are still the files that were indexed."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from catalogs.errors import ErrorCode, ScannerError
from catalogs.index import shards
from catalogs.index.shards import CoveredTile, Shard
from catalogs.store.footers import Footer, fingerprint
from catalogs.store.tile_checks import describe_error

if TYPE_CHECKING:
    from catalogs.store.tile_store import TileStore

log = logging.getLogger(__name__)


def covering(catalogue: TileStore, footers: Sequence[Footer]) -> Iterator[tuple[Shard, list[Footer | None]]]:
    """Yield the shards that can be searched, each with the footers of its tiles, None where the tile has changed.

    A damaged shard is skipped with a warning.

    Raises:
        ScannerError: ``index.no_sidecar``, ``index.dimension``: the index must not be searched.
    """
    folder = catalogue.path / "index"
    by_name = {footer.tile: footer for footer in footers}
    try:
        _check_sidecars(folder)
    except ScannerError as error:
        if error.code != ErrorCode.INDEX_DAMAGED:
            raise
        log.warning("%s All tiles are searched exactly. %s", error.message, error.hint)
        return
    for path in sorted(folder.glob("shard-*.json")):
        try:
            shard = read_whole(path, catalogue.info.dim)
        except ScannerError as error:
            # Another dimension means the index of another catalogue; it is not damage to work around.
            if error.code == ErrorCode.INDEX_DIMENSION:
                raise
            log.warning("%s Its tiles are searched exactly. %s", error.message, error.hint)
            continue
        if shard and shard.model_sha256 == catalogue.info.model_sha256:
            pairs = [(by_name.get(tile.tile), tile) for tile in shard.tiles]
            yield shard, [f if f and is_same(catalogue, f, tile) else None for f, tile in pairs]


def find_damage(catalogue: TileStore) -> list[ScannerError]:
    """Read every byte of the index; returns what is wrong with each part."""
    folder = catalogue.path / "index"
    damage = []
    try:
        _check_sidecars(folder)
    except ScannerError as error:
        damage.append(error)
    for path in sorted(folder.glob("shard-*.json")):
        try:
            if shard := read_whole(path, catalogue.info.dim):
                shards.check_all(shard, folder)
        except ScannerError as error:
            damage.append(error)
    return damage


def _check_sidecars(folder: Path) -> None:
    try:
        names = {path.name for path in folder.iterdir()} if os.path.lexists(folder) else set()
    except OSError as error:
        message = f"{folder} cannot be read: {describe_error(error)}."
        raise ScannerError(ErrorCode.INDEX_DAMAGED, message, "Ask its owner for permission, or remove it.") from error
    # Annoy crashes on a file of another dimension, which only the sidecar tells.
    for path in (folder / name for name in sorted(names) if name.endswith(shards.ENGINE)):
        if f"{path.stem.rsplit('-', 1)[0]}.json" not in names:
            raise ScannerError(
                ErrorCode.INDEX_NO_SIDECAR,
                f"The index file {path} has no sidecar (.json), so its dimension is unknown.",
                "Restore its .json, or bring the index up to date: scanner index",
            )


def read_whole(path: Path, dim: int) -> Shard | None:
    """Read a shard and check its data files; None for one that was never finished.

    Raises:
        ScannerError: ``index.damaged``, ``index.dimension``.
    """
    shard = shards.read(path, dim)
    with contextlib.suppress(ScannerError):
        if shard.content:
            shards.check(shard, path.parent)
        return shard if shard.content else None
    # Another process may have replaced it between the two steps: try once more.
    shard = shards.read(path, dim)
    shards.check(shard, path.parent)
    return shard


def is_same(catalogue: TileStore, footer: Footer, tile: CoveredTile) -> bool:
    """Compare a tile with the indexed one by size and time; a copy has a new time and is compared by content."""
    if footer.size != tile.size:
        return False
    return footer.mtime_ns == tile.mtime_ns or fingerprint(catalogue.tile_path(footer.tile)) == tile.fingerprint
