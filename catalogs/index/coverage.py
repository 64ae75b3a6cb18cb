"""What the index vouches for: sound shards, and which of their tiles are still the files that were indexed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from catalogs.errors import ErrorCode, ScannerError
from catalogs.index import shards
from catalogs.index.shards import Covered, Shard
from catalogs.store.footers import Footer, fingerprint

if TYPE_CHECKING:
    from catalogs.store.tile_store import TileStore

log = logging.getLogger(__name__)


def covering(catalogue: TileStore, found: Sequence[Footer]) -> Iterator[tuple[Shard, list[Footer | None]]]:
    """The shards that can be searched, each with the footers of its tiles, None where the tile changed since.

    Raises ``ScannerError`` ``index.no_sidecar``, ``index.dimension``: a set-up that must not be searched. A damaged
    shard is named in a warning and left out.
    """
    folder = catalogue.path / "index"
    by_name = {footer.tile: footer for footer in found}
    _refuse_strangers(folder)
    for path in sorted(folder.glob("shard-*.json")):
        try:
            shard = read_whole(path, catalogue.info.dim)
        except ScannerError as error:
            if error.code == ErrorCode.INDEX_DIMENSION:
                raise
            log.warning("%s Its tiles are searched exactly. %s", error.message, error.hint)
            continue
        if shard and shard.model_sha256 == catalogue.info.model_sha256:
            footers = [by_name.get(tile.tile) for tile in shard.tiles]
            pairs = zip(footers, shard.tiles, strict=True)
            yield shard, [f if f and same(catalogue, f, tile) else None for f, tile in pairs]


def read_whole(path: Path, dim: int) -> Shard | None:
    """A shard whose data files are sound; None for one that was never finished. Read again if it was just replaced.

    Raises ``ScannerError`` ``index.damaged``, ``index.dimension``.
    """
    shard = shards.read(path, dim)
    with contextlib.suppress(ScannerError):
        if shard.content:
            shards.check(shard, path.parent)
        return shard if shard.content else None
    shard = shards.read(path, dim)
    shards.check(shard, path.parent)
    return shard


def same(catalogue: TileStore, footer: Footer, tile: Covered) -> bool:
    """By size and time where they agree; a copied catalogue has new times, and is compared by content."""
    if footer.size != tile.size:
        return False
    return footer.mtime_ns == tile.mtime_ns or fingerprint(catalogue.tile_path(footer.tile)) == tile.fingerprint


def _refuse_strangers(folder: Path) -> None:
    for path in folder.glob(f"*{shards.ENGINE}"):
        if not (folder / f"{path.stem.rsplit('-', 1)[0]}.json").exists():
            raise ScannerError(
                ErrorCode.INDEX_NO_SIDECAR,
                f"The index file {path} has no sidecar that says what it is; Annoy would crash on a wrong guess.",
                "Put its .json back, or bring the index up to date: scanner index",
            )
