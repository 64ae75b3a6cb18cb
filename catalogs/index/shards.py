"""One shard of the index: the vectors of some tiles, the engine's file over them, and a sidecar that describes both.

``<shard>.json``               the sidecar, and the point of commit: it names the files below, with their fingerprints
``<shard>-<content>.rows.npy`` object_id, ra, dec, tile (number in the sidecar's list) and row of each item
``<shard>-<content>.f16``      its vector at half precision (``half_vectors``): exact search, and exact re-ranking
``<shard>-<content>.ann``      the engine's file over the leading numbers (``engine``), items 0..n-1 without a gap
``<shard>-<content>.ranges``   smallest and largest values of columns by row group (``ranges``), for filters

Engines do not check their own files, and Annoy crashes on one of another dimension. So a file is loaded only if its
sidecar describes it.
"""

from __future__ import annotations

import functools
import io
import json
import logging
import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.atomic import replacing, write_json
from catalogs.errors import ErrorCode, ScannerError
from catalogs.index import ENGINES, half_vectors
from catalogs.index.engine import find_engine
from catalogs.index.half_vectors import HalfVectors
from catalogs.index.settings import IndexSettings
from catalogs.records import load_json, read_record
from catalogs.store import vectors
from catalogs.store.footers import checksum, fingerprint
from catalogs.store.schema import EMBEDDING
from catalogs.store.tile_checks import describe_error

log = logging.getLogger(__name__)

ITEM = np.dtype([("object_id", "<i8"), ("ra", "<f8"), ("dec", "<f8"), ("tile", "<i4"), ("row", "<i4")])
COLUMNS = ("object_id", "ra", "dec", EMBEDDING)
ROWS, VECTORS, ENGINE = ".rows.npy", ".f16", ".ann"
SUFFIXES = (ROWS, VECTORS, ENGINE)

_CRC_KEY = "crc32"
_HINT = "Bring the index up to date: scanner index"


@dataclass(frozen=True)
class CoveredTile:
    """A tile file as it was when it was indexed; ``rows`` counts the indexed vectors."""

    tile: str
    size: int
    mtime_ns: int
    fingerprint: str
    rows: int


@dataclass(frozen=True)
class Shard:
    """The sidecar. ``content`` names the data files; it is "" while a shard is built for the first time.

    ``recipe`` holds the settings, under the name that the file has for them. ``files`` are the size, fingerprint (of
    both ends) and checksum (CRC-32 of all bytes) of each data file, in the order of ``SUFFIXES``.
    """

    name: str
    content: str
    dim: int
    recipe: IndexSettings
    model_sha256: str
    rows: int
    files: tuple[tuple[int, str, int], ...]
    tiles: tuple[CoveredTile, ...]

    @property
    def bytes(self) -> int:
        return sum(size for size, _, _ in self.files)

    def path(self, folder: Path, suffix: str) -> Path:
        """Name one of its data files."""
        return folder / f"{self.name}-{self.content}{suffix}"

    def save(self, folder: Path) -> None:
        """Write the sidecar, which commits the shard."""
        values = asdict(self)
        write_json(folder / f"{self.name}.json", {**values, _CRC_KEY: _crc32(values)}, clear=False)


def read(path: Path, dim: int) -> Shard:
    """Read a sidecar.

    Raises:
        ScannerError: ``index.damaged``; ``index.dimension`` if its embeddings have not ``dim`` numbers.
    """
    try:
        stat = path.stat()
        shard, intact = _read_sidecar(path, stat.st_size, stat.st_mtime_ns)
    except (OSError, ValueError) as error:
        raise _unreadable(path, describe_error(error)) from error
    if shard.dim != dim:
        raise ScannerError(
            ErrorCode.INDEX_DIMENSION,
            f"The index {path} is of {shard.dim} dimensions, the embeddings of its catalogue have {dim}.",
            f"It belongs to another catalogue. {_HINT}",
        )
    if not intact:
        raise _unreadable(path, "its checksum differs")
    return shard


def _unreadable(path: Path, why: str) -> ScannerError:
    return ScannerError(ErrorCode.INDEX_DAMAGED, f"The index file {path} cannot be read ({why}).", _HINT)


def check(shard: Shard, folder: Path) -> None:
    """Compare the data files with the sidecar, by size and ends; a file newer than the sidecar is read as a whole.

    Raises:
        ScannerError: ``index.damaged``.
    """
    path = folder
    try:
        for suffix, (size, mark, whole) in zip(SUFFIXES, shard.files, strict=True):
            path = shard.path(folder, suffix)
            stat = path.stat()
            if stat.st_size != size or _fingerprint(path, stat.st_size, stat.st_mtime_ns) != mark:
                raise ValueError("it is not the file that its sidecar describes")
            if _is_newer(path, shard, folder) and _checksum(path, stat.st_size, stat.st_mtime_ns) != whole:
                raise ValueError("it has changed since it was written")
        # The second file holds the vectors, one record a row.
        if shard.files[1][0] != shard.rows * half_vectors.record_type(shard.dim).itemsize:
            raise ValueError("its number of rows is not that of its sidecar")
        find_engine(shard.recipe.engine).check(shard.path(folder, ENGINE), shard.rows, shard.recipe)
    except (OSError, ValueError) as error:
        raise ScannerError(
            ErrorCode.INDEX_DAMAGED, f"The index file {path} is refused: {describe_error(error)}.", _HINT
        ) from error


def mark_checked(shard: Shard, folder: Path) -> None:
    """Mark checked data files as older than the sidecar, so that they are not read again."""
    if any(_is_newer(shard.path(folder, suffix), shard, folder) for suffix in SUFFIXES):
        os.utime(folder / f"{shard.name}.json")


def check_all(shard: Shard, folder: Path) -> None:
    """Read every byte of the data files.

    Raises:
        ScannerError: ``index.damaged``.
    """
    for suffix, (_, _, whole) in zip(SUFFIXES, shard.files, strict=True):
        path = shard.path(folder, suffix)
        if checksum(path) != whole:
            message = f"The index file {path} has changed since it was written."
            raise ScannerError(ErrorCode.INDEX_DAMAGED, message, _HINT)


def estimate_bytes(rows: int, dim: int, settings: IndexSettings) -> int:
    """Estimate the disk space that a shard of ``rows`` takes while it is built, rounded up."""
    # Annoy grows its file by a factor of 1.3 at a time.
    engine = rows * (4 * settings.dims + 12 + 24 * settings.trees) * 13 // 10
    return engine + rows * (ITEM.itemsize + half_vectors.record_type(dim).itemsize) + 1_000_000


class Builder:
    """Builds one shard, tile by tile. Memory holds a row group, 32 bytes a row, and (unless ``on_disk``) the engine's
    file."""

    def __init__(self, folder: Path, shard: Shard, on_disk: bool) -> None:
        self._folder, self._shard, self._on_disk = folder, shard, on_disk
        self._items: list[NDArray[np.void]] = []
        self._tiles: list[CoveredTile] = []
        self.rows = 0
        self.skipped = 0

    def build(self, tiles: Iterable[tuple[Path, Callable[[], Iterable[pa.Table]]]], skip: Callable[..., None]) -> Shard:
        """Write all files and commit them by the sidecar.

        ``tiles`` are files, each with a function that reads its row groups; ``skip`` takes the ``ScannerError`` of one
        that cannot be read.

        Raises:
            OSError: The disk is full or fails.
        """
        # A killed build must not leave data files without a sidecar.
        if not (self._folder / f"{self._shard.name}.json").exists():
            replace(self._shard, content="").save(self._folder)
        with ExitStack() as stack:
            paths = [self._shard.path(self._folder, suffix) for suffix in SUFFIXES]
            temporary = [stack.enter_context(replacing(path, clear=False)) for path in paths]
            with temporary[1].open("wb") as file:
                for path, groups in tiles:
                    self._add_tile(path, groups, file, skip)
            # Through memory: np.save loses the errno of a full disk.
            items = io.BytesIO()
            np.save(items, np.concatenate([np.zeros(0, ITEM), *self._items]))
            temporary[0].write_bytes(items.getbuffer())
            settings, rows = self._shard.recipe, HalfVectors(temporary[1], self._shard.dim)
            find_engine(settings.engine).build(temporary[2], rows, settings, self._on_disk)
            files = tuple((path.stat().st_size, fingerprint(path), checksum(path)) for path in temporary)
        shard = replace(self._shard, rows=self.rows, files=files, tiles=tuple(self._tiles))
        # The data files have their names now, and the sidecar commits them.
        shard.save(self._folder)
        return shard

    def _add_tile(
        self, path: Path, groups: Callable[[], Iterable[pa.Table]], file: Any, skip: Callable[..., None]
    ) -> None:
        try:
            stat, mark, before = path.stat(), fingerprint(path), self.rows
        except FileNotFoundError:
            # The tile was removed after it was listed.
            return
        tile = CoveredTile(path.stem, stat.st_size, stat.st_mtime_ns, mark, rows=0)
        try:
            for table in groups():
                self._add_rows(table, file)
        except ScannerError as error:
            # Rows read so far stay in the shard. With this size no file matches, so the tile never counts as covered.
            tile = replace(tile, size=-1)
            skip(error)
        self._tiles.append(replace(tile, rows=self.rows - before))

    def _add_rows(self, table: pa.Table, file: Any) -> None:
        embedding = vectors.from_arrow(table.column(EMBEDDING))
        # Vectors with a NaN or of length zero are not indexed.
        sound = np.flatnonzero(vectors.sound(embedding))
        file.write(half_vectors.pack(embedding[sound]).data)
        items = np.zeros(len(sound), ITEM)
        for name, column in (("object_id", "object_id"), ("ra", "ra"), ("dec", "dec"), ("row", "_row")):
            items[name] = table.column(column).to_numpy()[sound]
        items["tile"] = len(self._tiles)
        self._items.append(items)
        self.rows += len(sound)
        self.skipped += len(embedding) - len(sound)


def _crc32(values: Mapping[str, Any]) -> int:
    """Compute the checksum of a sidecar's values, without the recipe: another one makes a search miss more or less."""
    facts = {name: value for name, value in values.items() if name != "recipe"}
    return zlib.crc32(json.dumps(facts, sort_keys=True).encode())


# The size and time of a file are part of the key, so that a file is read again once it is replaced.
@functools.lru_cache(4096)
def _read_sidecar(path: Path, size: int, mtime_ns: int) -> tuple[Shard, bool]:
    """Read a sidecar, and tell whether its values have their checksum."""
    values = load_json(path)
    # Sidecars of earlier versions have no checksum of themselves.
    has_checksum = isinstance(values, dict) and _CRC_KEY in values
    intact = not has_checksum or values.pop(_CRC_KEY) == _crc32(values)
    shard = read_record(values, Shard)
    recipe, tiles = shard.recipe, [tile.tile for tile in shard.tiles]
    # The values name files and size what the engine reads, so each is compared with all that it can be.
    if shard.name != path.stem or not re.fullmatch("[0-9a-f]*", shard.content):
        raise ValueError("its name or its content is not that of its files")
    if len(shard.files) != (len(SUFFIXES) if shard.content else 0):
        raise ValueError("it does not describe its files")
    if recipe.engine not in ENGINES or not 1 <= recipe.dims <= shard.dim or recipe.trees < 0:
        raise ValueError("no engine has its settings")
    if recipe.effort < 1 or recipe.candidates < 1:
        raise ValueError("no search has its settings")
    if len(set(tiles)) < len(tiles) or min((tile.rows for tile in shard.tiles), default=0) < 0:
        raise ValueError("its tiles repeat, or have fewer rows than none")
    if sum(tile.rows for tile in shard.tiles) != shard.rows:
        raise ValueError("its number of rows is not that of its tiles")
    return shard, intact


@functools.lru_cache(4096)
def _fingerprint(path: Path, size: int, mtime_ns: int) -> str:
    return fingerprint(path)


@functools.lru_cache(4096)
def _checksum(path: Path, size: int, mtime_ns: int) -> int:
    log.info("%s is newer than its sidecar, so all of it is read. To avoid that, run: scanner index", path)
    return checksum(path)


def _is_newer(path: Path, shard: Shard, folder: Path) -> bool:
    return path.stat().st_mtime_ns > (folder / f"{shard.name}.json").stat().st_mtime_ns
