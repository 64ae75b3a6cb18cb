"""One shard of the index: the vectors of some tiles, the engine's file over them, and a sidecar that vouches for all.

``<shard>.json``               the sidecar, and the point of commit: it names the files below, with their fingerprints
``<shard>-<content>.rows.npy`` object_id, ra, dec, tile (number in the sidecar's list) and row of each item
``<shard>-<content>.f16``      its vector at half precision (``half_vectors``): exact search, and exact re-ranking
``<shard>-<content>.ann``      the engine's file over the leading numbers (``engine``), items 0..n-1 without a gap

Engines know nothing about their own files: with another dimension Annoy reads garbage or crashes, so nothing is loaded
that its sidecar does not vouch for.
"""

from __future__ import annotations

import functools
import io
import json
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.atomic import replacing, write_json
from catalogs.errors import ErrorCode, ScannerError
from catalogs.index import half_vectors
from catalogs.index.engine import find_engine
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.settings import IndexSettings
from catalogs.store import vectors
from catalogs.store.footers import checksum, fingerprint
from catalogs.store.schema import EMBEDDING

log = logging.getLogger(__name__)

ITEM = np.dtype([("object_id", "<i8"), ("ra", "<f8"), ("dec", "<f8"), ("tile", "<i4"), ("row", "<i4")])
COLUMNS = ("object_id", "ra", "dec", EMBEDDING)
ROWS, VECTORS, ENGINE = ".rows.npy", ".f16", ".ann"
SUFFIXES = (ROWS, VECTORS, ENGINE)

_HINT = "Bring the index up to date: scanner index"


@dataclass(frozen=True)
class Covered:
    """A tile file as it was when it was indexed; ``rows`` counts the vectors that entered."""

    tile: str
    size: int
    mtime_ns: int
    fingerprint: str
    rows: int


@dataclass(frozen=True)
class Shard:
    """The sidecar. ``content`` names the data files; "" stands for a shard that is being built for the first time.

    ``files`` are size, fingerprint (of its ends) and checksum (CRC-32 of all of it) of each data file, in the order of
    ``SUFFIXES``.
    """

    name: str
    content: str
    dim: int
    recipe: IndexSettings
    model_sha256: str
    rows: int
    files: tuple[tuple[int, str, int], ...]
    tiles: tuple[Covered, ...]

    @property
    def bytes(self) -> int:
        return sum(size for size, _, _ in self.files)

    def path(self, folder: Path, suffix: str) -> Path:
        """Where one of its data files is."""
        return folder / f"{self.name}-{self.content}{suffix}"

    def save(self, folder: Path) -> None:
        """Write the sidecar: from here on this is the shard."""
        write_json(folder / f"{self.name}.json", asdict(self))


def read(path: Path, dim: int) -> Shard:
    """A sidecar; ``ScannerError`` ``index.damaged``, or ``index.dimension`` if it is not of length ``dim``."""
    try:
        stat = path.stat()
        shard = _parsed(path, stat.st_size, stat.st_mtime_ns)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ScannerError(
            ErrorCode.INDEX_DAMAGED, f"The index file {path} cannot be read ({error!r}).", _HINT
        ) from error
    if shard.dim != dim:
        raise ScannerError(
            ErrorCode.INDEX_DIMENSION,
            f"The index {path} is of {shard.dim} dimensions, the embeddings of its catalogue have {dim}.",
            f"It belongs to another catalogue. {_HINT}",
        )
    return shard


def check(shard: Shard, folder: Path) -> None:
    """Raise ``ScannerError`` ``index.damaged`` unless the data files are those of the sidecar.

    By size and ends; a file that was written later than the sidecar, as copies and changes are, is read as a whole.
    """
    path = folder
    try:
        for suffix, (size, mark, whole) in zip(SUFFIXES, shard.files, strict=True):
            path = shard.path(folder, suffix)
            stat = path.stat()
            if stat.st_size != size or _fingerprint(path, stat.st_size, stat.st_mtime_ns) != mark:
                raise ValueError("it is not the file that its sidecar describes")
            if _later(path, shard, folder) and _checksum(path, stat.st_size, stat.st_mtime_ns) != whole:
                raise ValueError("it has changed since it was written")
        if shard.files[1][0] != shard.rows * half_vectors.record(shard.dim).itemsize:
            raise ValueError("it has not as many rows as its sidecar says")
        find_engine(shard.recipe.engine).check(shard.path(folder, ENGINE), shard.rows, shard.recipe)
    except (OSError, ValueError) as error:
        raise ScannerError(ErrorCode.INDEX_DAMAGED, f"The index file {path} is refused: {error}.", _HINT) from error


def settle(shard: Shard, folder: Path) -> None:
    """Let data files that were found sound count as older than the sidecar, so that they are not read again."""
    if any(_later(shard.path(folder, suffix), shard, folder) for suffix in SUFFIXES):
        os.utime(folder / f"{shard.name}.json")


def check_all(shard: Shard, folder: Path) -> None:
    """Read every byte: ``ScannerError`` ``index.damaged`` for a change that the ends of a file do not show."""
    for suffix, (_, _, whole) in zip(SUFFIXES, shard.files, strict=True):
        path = shard.path(folder, suffix)
        if checksum(path) != whole:
            raise ScannerError(
                ErrorCode.INDEX_DAMAGED, f"The index file {path} has changed since it was written.", _HINT
            )


def bytes_needed(rows: int, dim: int, recipe: IndexSettings) -> int:
    """Room that a shard of so many rows takes while it is built, rounded up."""
    engine = rows * (4 * recipe.dims + 12 + 24 * recipe.trees) * 13 // 10  # Annoy grows its file by 1.3
    return engine + rows * (ITEM.itemsize + half_vectors.record(dim).itemsize) + 1_000_000


class Builder:
    """Fills one shard, tile by tile. One row group at a time is in memory, 32 bytes a row, and unless it is built
    ``on_disk`` the engine's file."""

    def __init__(self, folder: Path, shard: Shard, on_disk: bool) -> None:
        self._folder, self._shard, self._on_disk = folder, shard, on_disk
        self._items: list[NDArray[np.void]] = []
        self._tiles: list[Covered] = []
        self.rows = 0
        self.skipped = 0

    def build(self, tiles: Iterable[tuple[Path, Callable[[], Iterable[pa.Table]]]], skip: Callable[..., None]) -> Shard:
        """Write all files and commit them by the sidecar. ``tiles`` are files with what reads their row groups;
        ``skip`` is told the ``ScannerError`` of one that cannot be read. Raises OSError of the disk.
        """
        first = replace(self._shard, content="")
        if not (self._folder / f"{first.name}.json").exists():  # no kill may leave data files without a sidecar
            first.save(self._folder)
        with ExitStack() as stack:
            temporary = [stack.enter_context(replacing(self._shard.path(self._folder, suffix))) for suffix in SUFFIXES]
            with temporary[1].open("wb") as file:
                for path, groups in tiles:
                    self._tile(path, groups, file, skip)
            items = io.BytesIO()  # numpy's own writing loses the number of an error
            np.save(items, np.concatenate([np.zeros(0, ITEM), *self._items]))
            temporary[0].write_bytes(items.getbuffer())
            recipe = self._shard.recipe
            find_engine(recipe.engine).build(
                temporary[2], HalfVectors(temporary[1], self._shard.dim), recipe, self._on_disk
            )
            files = tuple((path.stat().st_size, fingerprint(path), checksum(path)) for path in temporary)
        shard = replace(self._shard, rows=self.rows, files=files, tiles=tuple(self._tiles))
        shard.save(self._folder)
        return shard

    def _tile(self, path: Path, groups: Callable[[], Iterable[pa.Table]], file: Any, skip: Callable[..., None]) -> None:
        """Add a tile's rows. Vectors with a NaN, or of length zero, never enter."""
        try:
            stat, mark, before = path.stat(), fingerprint(path), self.rows
        except FileNotFoundError:  # it went away since it was listed
            return
        tile = Covered(path.stem, stat.st_size, stat.st_mtime_ns, mark, rows=0)
        try:
            for table in groups():
                self._rows(table, file)
        except ScannerError as error:
            tile = replace(tile, size=-1)  # what it gave stays inside, and is never vouched for
            skip(error)
        self._tiles.append(replace(tile, rows=self.rows - before))

    def _rows(self, table: pa.Table, file: Any) -> None:
        embedding = vectors.from_arrow(table.column(EMBEDDING))
        sound = np.flatnonzero(vectors.sound(embedding))
        file.write(half_vectors.packed(embedding[sound]).data)
        self._items.append(_items(table, sound, len(self._tiles)))
        self.rows += len(sound)
        self.skipped += len(embedding) - len(sound)


@functools.lru_cache(4096)
def _parsed(path: Path, size: int, mtime_ns: int) -> Shard:
    found = json.loads(path.read_text(encoding="utf-8"))
    tiles = tuple(Covered(**tile) for tile in found["tiles"])
    files = tuple((int(length), str(mark), int(whole)) for length, mark, whole in found["files"])
    return Shard(**{**found, "recipe": IndexSettings(**found["recipe"]), "files": files, "tiles": tiles})


@functools.lru_cache(4096)
def _fingerprint(path: Path, size: int, mtime_ns: int) -> str:
    return fingerprint(path)


@functools.lru_cache(4096)
def _checksum(path: Path, size: int, mtime_ns: int) -> int:
    log.info("%s is newer than its sidecar: reading all of it. (Spare that: scanner index)", path)
    return checksum(path)


def _later(path: Path, shard: Shard, folder: Path) -> bool:
    return path.stat().st_mtime_ns > (folder / f"{shard.name}.json").stat().st_mtime_ns


def _items(table: pa.Table, sound: NDArray[np.int64], tile: int) -> NDArray[np.void]:
    items = np.zeros(len(sound), ITEM)
    for name, column in (("object_id", "object_id"), ("ra", "ra"), ("dec", "dec"), ("row", "_row")):
        items[name] = table.column(column).to_numpy()[sound]
    items["tile"] = tile
    return items
