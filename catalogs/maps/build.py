"""Maps of a catalogue: two coordinates for each object, in columns beside the embeddings.

``maps/<name>/map.json``             how it was made
``maps/<name>/sample.parquet``       the objects it was fitted to: ids, unit vectors, coordinates
``maps/<name>/tiles/<tile>.parquet`` object_id and two coordinates (``<name>_x``, ``<name>_y``), a row for each row of
                                     the tile's file, in its order; NaN where an object is not on the map

Tile files are the receipts of a scan and are not written again, so a map lies beside them. When a map is updated, only
new and changed tiles are placed on it; the fit stays.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalogs import parquet_files
from catalogs.atomic import locked, remove_stale, replacing, write_json
from catalogs.errors import ErrorCode, ScannerError
from catalogs.maps import METHODS, projections
from catalogs.maps.projections import Placer, Places
from catalogs.maps.read import (
    ID,
    RECEIPT,
    SAMPLE,
    Identities,
    MapRecord,
    MapSettings,
    Receipt,
    axes,
    describe_map,
    map_folder,
    read_coordinates,
    read_receipt,
    read_sample,
    sample_digest,
    tile_schema,
)
from catalogs.search import random_sample
from catalogs.search.tile_pass import Executor, Threads
from catalogs.store import rows, tile_reader, vectors
from catalogs.store.backend import Snapshot
from catalogs.store.footers import SUFFIX, Footer
from catalogs.store.schema import EMBEDDING
from catalogs.store.tile_reader import Selection
from catalogs.store.tile_store import TileStore
from catalogs.store.vectors import Vectors

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_ONE_BY_ONE = Threads(1)  # a tile takes up to half a GB while it is compared with the sample


@dataclass(frozen=True)
class MapReport:
    """``fitted`` objects made the map, ``placed`` tiles were added now, ``kept`` were there; ``objects`` are on it."""

    name: str
    fitted: int
    placed: int
    kept: int
    objects: int


def build_map(
    catalogue: TileStore,
    settings: MapSettings,
    name: str | None = None,
    *,
    refit: bool = False,
    executor: Executor | None = None,
) -> MapReport:
    """Make the map ``name`` (by default its method), or update it; memory is that of the sample.

    A map of the same settings and model keeps its fit unless ``refit``. ``executor`` places the objects of the tiles;
    their places are the same, to the bit, and are written by this process.

    Raises:
        ScannerError: ``map.bad_name``, ``map.bad_method``, ``map.too_few``, ``map.not_installed``, ``map.damaged``
            (unless ``refit``), ``where.*``.
    """
    name = name or settings.method
    if not _NAME.fullmatch(name):
        hint = "Use letters, digits and _: it names columns."
        raise ScannerError(ErrorCode.MAP_BAD_NAME, f"{name!r} cannot name a map.", hint)
    if settings.method not in METHODS:
        hint = f"Give one of {', '.join(METHODS)}."
        raise ScannerError(ErrorCode.MAP_BAD_METHOD, f"There is no map by {settings.method!r}.", hint)
    chosen = rows.selection(catalogue, settings.where, None)
    folder = map_folder(catalogue, name)
    # Stale files are removed under the lock, since no other run writes there then.
    with locked(folder / ".lock"):
        for part in (folder, folder / "tiles"):
            remove_stale(part)
        snapshot = catalogue.snapshot()
        digest = _fit(snapshot, settings, name, chosen, refit)
        return _place_tiles(snapshot, settings.method, name, chosen, digest, refit, executor)


def _fit(snapshot: Snapshot, settings: MapSettings, name: str, chosen: Selection, refit: bool) -> str:
    """Fit the map unless that is done; returns the digest of the fitted sample."""
    catalogue = snapshot.catalogue
    folder, model_sha256 = map_folder(catalogue, name), catalogue.info.model_sha256
    if not refit and (folder / "map.json").exists():
        record = describe_map(catalogue, name)
        if (record.plan, record.model_sha256) == (settings, model_sha256):
            return record.digest
    # The fit and its sample are stored, so that later tiles are placed on the same map.
    sample = random_sample.draw(snapshot, chosen, settings.sample, settings.seed)
    places = projections.fit(sample.vectors, settings.method, settings.seed)
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False), sample.vectors.shape[1])
    columns = [pa.array(sample.object_id), vectors.to_arrow(sample.vectors, kind), *map(pa.array, places.T.copy())]
    with replacing(folder / SAMPLE, clear=False) as temporary:
        parquet_files.write_table(pa.table(columns, names=[ID, EMBEDDING, *axes(name)]), temporary)
    digest = sample_digest(sample.object_id, places)
    # Last, as it commits the fit: tiles with another digest are placed again.
    write_json(folder / "map.json", asdict(MapRecord(settings, model_sha256, digest, len(sample))), clear=False)
    return digest


def _place_tiles(
    snapshot: Snapshot, method: str, name: str, chosen: Selection, digest: str, refit: bool, executor: Executor | None
) -> MapReport:
    folder = map_folder(snapshot.catalogue, name)
    identities, embedding, places = read_sample(snapshot.catalogue, name, digest)
    kept = objects = 0
    outdated: list[Footer] = []
    for footer in snapshot.footers:
        path = folder / "tiles" / f"{footer.tile}{SUFFIX}"
        # A tile is current if neither the fit nor the catalogue's file has changed since.
        receipt = read_receipt(path)
        same = receipt and replace(receipt, objects=0) == Receipt(digest, footer.size, footer.mtime_ns, 0)
        if receipt and same and not (refit and _is_damaged(path, name, footer)):
            kept, objects = kept + 1, objects + receipt.objects
        else:
            outdated.append(footer)
    placed = 0
    part = snapshot.only(outdated)
    place = _SamplePlacer(Placer(embedding, places, method), identities, places)
    for tiles in (executor or _ONE_BY_ONE).run(part, _Placement(chosen, place)) if outdated else ():
        for number, tile_identities, coordinates in tiles:
            footer = part.footers[number]
            count = int(np.isfinite(coordinates[:, 0]).sum())
            receipt = Receipt(digest, footer.size, footer.mtime_ns, count)
            schema = tile_schema(name).with_metadata({RECEIPT: json.dumps(asdict(receipt), sort_keys=True)})
            columns = [pa.array(tile_identities), *map(pa.array, coordinates.T.copy())]
            with replacing(folder / "tiles" / f"{footer.tile}{SUFFIX}", clear=False) as temporary:
                parquet_files.write_table(pa.table(columns, schema=schema), temporary)
            placed, objects = placed + 1, objects + count
    return MapReport(name, len(identities), placed, kept, objects)


def _is_damaged(path: Path, name: str, footer: Footer) -> bool:
    try:
        read_coordinates(path, name, footer.rows)
    except ScannerError:
        return True
    return False


class _SamplePlacer:
    """Keeps fitted objects at their fitted places, and places all others among them."""

    def __init__(self, placer: Placer, identities: Identities, places: Places) -> None:
        # Sorted, so that objects are found among the fitted ones by bisection.
        order = np.argsort(identities)
        self._identities, self._places, self._placer = identities[order], places[order], placer

    def __call__(self, identities: Identities, unit: Vectors) -> Places:
        coordinates = self._placer(unit)
        # An id beyond the last fitted one would be out of range.
        at = np.minimum(np.searchsorted(self._identities, identities), len(self._identities) - 1)
        fitted = self._identities[at] == identities
        coordinates[fitted] = self._places[at[fitted]]
        return coordinates


_Placed = tuple[tuple[int, Identities, Places], ...]
"""Tiles by their numbers: ids [N] and coordinates [N, 2] of all rows, NaN for those that are not on the map."""


@dataclass(frozen=True)
class _Placement:
    """A pass that places the chosen objects of tiles."""

    chosen: Selection
    place: _SamplePlacer

    def read(self, snapshot: Snapshot, number: int) -> Iterator[_Placed]:
        """Yield one tile, once all of it is placed.

        Raises:
            ScannerError: ``tile.damaged``.
        """
        footer = snapshot.footers[number]
        # Every row of the tile has a row here, also those that are not on the map.
        groups = [part.column(ID).to_numpy() for part in rows.read_groups(snapshot, footer, [ID])]
        identities = np.concatenate([np.zeros(0, np.int64), *groups])
        coordinates = np.full((len(identities), 2), np.nan, np.float32)
        for part in rows.read_groups(snapshot, footer, [ID, EMBEDDING], self.chosen):
            embedding = vectors.from_arrow(part.column(EMBEDDING))
            sound = np.flatnonzero(vectors.sound(embedding))
            numbers = part.column(tile_reader.ROW).to_numpy()[sound]
            coordinates[numbers] = self.place(identities[numbers], vectors.unit(embedding[sound]))
        yield ((number, identities, coordinates),)

    def join(self, answers: Sequence[_Placed]) -> _Placed:
        """List the tiles of all answers."""
        return tuple(tile for answer in answers for tile in answer)
