"""One shard of the index: an Annoy file, the rows its items stand for, and the sidecar that says what they are.

``<shard>.json``               the sidecar, and the point of commit: it names the two files below
``<shard>-<content>.ann``      Annoy, angular, one item a row, ids 0..n-1 without a gap
``<shard>-<content>.rows.npy`` object_id, ra, dec, tile (number in the sidecar's list) and row of each item

Annoy knows nothing about its own file: with another dimension it reads garbage or crashes, so nothing is loaded that
its sidecar does not vouch for. The vectors in it are the stored ones, unchanged: they serve the exact re-ranking, and
their order by angle is the order by stored cosine. (The encoder's graph has centred them already. To centre them again
here would answer another question: measured on vectors with a mean of 0.97, recall then stays below 0.92 at any cost.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from annoy import AnnoyIndex
from numpy.typing import NDArray

from catalogs import vectors
from catalogs.atomic import replacing, write_json
from catalogs.errors import ScannerError
from catalogs.footers import fingerprint
from catalogs.schema import EMBEDDING
from catalogs.vectors import Vectors

METRIC: Final = "angular"
ITEM = np.dtype([("object_id", "<i8"), ("ra", "<f8"), ("dec", "<f8"), ("tile", "<i4"), ("row", "<i4")])
COLUMNS = ("object_id", "ra", "dec", EMBEDDING)

_HINT = "Bring the index up to date: scanner index"
_NODE_HEADER = 12  # bytes before the vector of an angular node: descendants, children or norm


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
    """The sidecar. ``content`` names the data files; "" stands for a shard that is being built for the first time."""

    name: str
    content: str
    metric: str
    dim: int
    trees: int
    seed: int
    model_sha256: str
    rows: int
    bytes: int
    fingerprint: str
    tiles: tuple[Covered, ...]

    def annoy_path(self, folder: Path) -> Path:
        return folder / f"{self.name}-{self.content}.ann"

    def rows_path(self, folder: Path) -> Path:
        return folder / f"{self.name}-{self.content}.rows.npy"

    def save(self, folder: Path) -> None:
        """Write the sidecar: from here on this is the shard."""
        write_json(folder / f"{self.name}.json", asdict(self))


def read(path: Path, dim: int) -> Shard:
    """A sidecar; ``ScannerError`` ``index.damaged``, or ``index.dimension`` if it is not of length ``dim``."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        shard = Shard(**{**found, "tiles": tuple(Covered(**tile) for tile in found["tiles"])})
        if shard.metric != METRIC:
            raise ValueError(f"metric {shard.metric!r}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ScannerError("index.damaged", f"The index file {path} cannot be read ({error!r}).", _HINT) from error
    if shard.dim != dim:
        raise ScannerError(
            "index.dimension",
            f"The index {path} is of {shard.dim} dimensions, the embeddings of its catalogue have {dim}.",
            f"It belongs to another catalogue. {_HINT}",
        )
    return shard


def check(shard: Shard, folder: Path) -> None:
    """Raise ``ScannerError`` ``index.damaged`` unless the data files are those of the sidecar."""
    path = shard.annoy_path(folder)
    try:
        size = path.stat().st_size
        if size != shard.bytes or size % (_NODE_HEADER + 4 * shard.dim) or fingerprint(path) != shard.fingerprint:
            raise ValueError("it is not the file that its sidecar describes")
        if len(np.load(shard.rows_path(folder), mmap_mode="r")) != shard.rows:
            raise ValueError("its list of rows is of another length")
    except (OSError, ValueError) as error:
        raise ScannerError("index.damaged", f"The index file {path} is refused: {error}.", _HINT) from error


class Builder:
    """Fills one shard, tile by tile, in memory (about 1.7 kB a row at 384 dimensions).

    In memory and not by Annoy's ``on_disk_build``, which dies of SIGBUS on a full disk and leaves files of mode 0600.
    """

    def __init__(self, name: str, dim: int, trees: int, seed: int, model_sha256: str) -> None:
        self._empty = Shard(name, "", METRIC, dim, trees, seed, model_sha256, rows=0, bytes=0, fingerprint="", tiles=())
        self._annoy = AnnoyIndex(dim, METRIC)
        self._annoy.set_seed(seed)
        self._items: list[NDArray[np.void]] = []
        self.tiles: list[Covered] = []
        self.rows = 0
        self.skipped = 0

    def add(self, path: Path, groups: Iterable[pa.Table]) -> None:
        """Add a tile's rows. Vectors with a NaN, or of length zero, never enter."""
        stat, mark, before = path.stat(), fingerprint(path), self.rows
        tile = Covered(path.stem, stat.st_size, stat.st_mtime_ns, mark, rows=0)
        try:
            for table in groups:
                self._add(table)
        except ScannerError:
            tile = replace(tile, size=-1)  # what it gave stays inside, and is never vouched for
            raise
        finally:
            self.tiles.append(replace(tile, rows=self.rows - before))

    def _add(self, table: pa.Table) -> None:
        embedding = vectors.from_arrow(table.column(EMBEDDING))
        sound = np.flatnonzero(vectors.sound(embedding))
        for number, vector in enumerate(embedding[sound].tolist(), start=self.rows):
            self._annoy.add_item(number, vector)
        self._items.append(_items(table, sound, len(self.tiles)))
        self.rows += len(sound)
        self.skipped += len(embedding) - len(sound)

    def save(self, folder: Path, content: str) -> Shard:
        """Build the trees (one thread: the same rows give the same file), write all, commit by the sidecar."""
        self._annoy.build(self._empty.trees, n_jobs=1)
        if not (folder / f"{self._empty.name}.json").exists():  # no kill may leave an Annoy file without its sidecar
            self._empty.save(folder)
        shard = replace(self._empty, content=content, rows=self.rows, tiles=tuple(self.tiles))
        with replacing(shard.rows_path(folder)) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate([np.zeros(0, ITEM), *self._items]))
        path = shard.annoy_path(folder)
        with replacing(path) as temporary:
            _save(self._annoy, temporary)
        shard = replace(shard, bytes=path.stat().st_size, fingerprint=fingerprint(path))
        shard.save(folder)
        return shard


class Searcher:
    """An open shard. The files are mapped, not read: a query touches what it needs."""

    def __init__(self, shard: Shard, folder: Path) -> None:
        self._annoy = AnnoyIndex(shard.dim, METRIC)
        self._annoy.load(str(shard.annoy_path(folder)))
        self.items: NDArray[np.void] = np.load(shard.rows_path(folder), mmap_mode="r")

    def nearest(self, query: Vectors, count: int, search_k: int) -> tuple[NDArray[np.int64], Vectors]:
        """About the ``count`` items nearest to a unit vector [D]: their numbers and exact cosines."""
        numbers = self._annoy.get_nns_by_vector(query.tolist(), count, search_k)
        found = np.array([self._annoy.get_item_vector(number) for number in numbers], np.float32)
        cosine = vectors.unit(found.reshape(-1, len(query))) @ query
        return np.asarray(numbers, np.int64), cosine


def _items(table: pa.Table, sound: NDArray[np.int64], tile: int) -> NDArray[np.void]:
    items = np.zeros(len(sound), ITEM)
    for name, column in (("object_id", "object_id"), ("ra", "ra"), ("dec", "dec"), ("row", "_row")):
        items[name] = table.column(column).to_numpy()[sound]
    items["tile"] = tile
    return items


def _save(annoy: AnnoyIndex, path: Path) -> None:
    try:
        annoy.save(str(path))
    except OSError as error:  # Annoy writes the number into the text and leaves ``errno`` empty
        number = re.search(r"\((\d+)\)$", str(error))
        raise OSError(int(number[1]) if number else 0, str(error)) from error
    annoy.unload()
