"""Maps of a catalogue: two coordinates for each object, in columns beside the embeddings.

``maps/<name>/map.json``             how it was made
``maps/<name>/sample.parquet``       the objects it was fitted to: ids, unit vectors, coordinates
``maps/<name>/tiles/<tile>.parquet`` object_id and two coordinates (``<name>_x``, ``<name>_y``), a row for each row of
                                     the tile's file, in its order; NaN where an object is not on the map

Tile files are the receipts of a scan and are not written again; these lie beside them, as wide as two columns. A map
that is made again places only tiles that are new or changed: what it was fitted to stays.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catalogs.atomic import locked, remove_stale, replacing, write_json
from catalogs.errors import ErrorCode, ScannerError
from catalogs.maps import projections
from catalogs.maps.projections import Placer, Places
from catalogs.search import random_sample as sampling
from catalogs.store import rows, vectors
from catalogs.store import tile_reader as reading
from catalogs.store.footers import SUFFIX, Footer, damaged
from catalogs.store.schema import EMBEDDING
from catalogs.store.snapshot import Snapshot
from catalogs.store.tile_reader import Selection
from catalogs.store.vectors import Vectors

if TYPE_CHECKING:
    from astropy.table import Table

    from catalogs.store.tile_store import TileStore

log = logging.getLogger(__name__)

RECEIPT = "scanner.map"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_ID = "object_id"


@dataclass(frozen=True)
class Plan:
    """A map: its ``method``, the seed and size of the sample it is fitted to, and which objects are on it."""

    method: str
    sample: int = 20_000
    seed: int = 0
    where: str = "is_primary"


@dataclass(frozen=True)
class Report:
    """``fitted`` objects made the map, ``placed`` tiles were added now, ``kept`` were there; ``objects`` are on it."""

    name: str
    fitted: int
    placed: int
    kept: int
    objects: int


def build(
    catalogue: TileStore,
    plan: Plan,
    name: str | None = None,
    *,
    refit: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Make the map ``name`` (its method, by default), or bring it up to date; memory is that of the sample.

    A map of the same plan and model is gone on with unless ``refit``. Raises ``ScannerError`` ``map.bad_name``,
    ``map.bad_method``, ``map.too_few``, ``map.not_installed``, ``where.*``.
    """
    name = name or plan.method
    if not _NAME.fullmatch(name):
        raise ScannerError(
            ErrorCode.MAP_BAD_NAME, f"{name!r} cannot name a map.", "Use letters, digits and _: it names columns."
        )
    if plan.method not in projections.METHODS:
        hint = f"Give one of {', '.join(projections.METHODS)}."
        raise ScannerError(ErrorCode.MAP_BAD_METHOD, f"There is no map by {plan.method!r}.", hint)
    chosen = rows.selection(catalogue, plan.where, None)
    folder = _folder(catalogue, name)
    with locked(folder / ".lock"):
        for part in (folder, folder / "tiles"):
            remove_stale(part)
        digest = _fit(catalogue, plan, name, chosen, refit)
        return _place_tiles(catalogue, plan, name, chosen, digest, progress or (lambda done, of: None))


def names(catalogue: TileStore) -> list[str]:
    """The maps of a catalogue."""
    return sorted(path.parent.name for path in (catalogue.path / "maps").glob("*/map.json"))


def table(
    catalogue: TileStore,
    name: str,
    columns: Sequence[str] | None = None,
    filter_text: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Table:
    """Objects that are on a map: their coordinates, then ``columns`` of the catalogue.

    Of more than ``limit`` about so many are drawn at random, of which ``filter_text`` chooses. ``ScannerError``
    ``map.missing``.
    """
    known = describe(catalogue, name)
    wanted = reading.checked_columns(columns, catalogue.schema)
    chosen = rows.selection(catalogue, filter_text or known["plan"]["where"], None)
    snapshot = catalogue.snapshot().touching()
    share = 1.0 if limit is None else min(1.0, limit / max(_objects(snapshot, name), 1))
    rng = np.random.default_rng(seed)
    others = [catalogue.schema.field(one) for one in wanted if one != _ID]
    schema = pa.schema([catalogue.schema.field(_ID), *list(_schema(name))[1:], *others])
    parts = [schema.empty_table()]
    for footer in snapshot.footers:
        parts += [part.cast(schema) for part in _joined(snapshot, name, footer, schema, chosen, rng, share)]
    return reading.to_astropy(pa.concat_tables(parts))


def describe(catalogue: TileStore, name: str) -> dict[str, Any]:
    """What ``map.json`` says; ``ScannerError`` ``map.missing`` lists the maps there are."""
    try:
        known: dict[str, Any] = json.loads((_folder(catalogue, name) / "map.json").read_text(encoding="utf-8"))
        return known
    except (OSError, ValueError) as error:
        there = ", ".join(names(catalogue)) or "none yet"
        hint = f"Maps: {there}. Make one with: scanner map --method umap"
        raise ScannerError(ErrorCode.MAP_MISSING, f"{catalogue.path} has no map {name!r}.", hint) from error


def _folder(catalogue: TileStore, name: str) -> Path:
    return catalogue.path / "maps" / name


def _fit(catalogue: TileStore, plan: Plan, name: str, chosen: Selection, refit: bool) -> str:
    """Fit the map unless it is there; returns the digest of what it was fitted to."""
    folder = _folder(catalogue, name)
    wanted = {"plan": asdict(plan), "model_sha256": catalogue.info.model_sha256}
    if not refit and (folder / "map.json").exists():
        known = describe(catalogue, name)
        if {key: known.get(key) for key in wanted} == wanted and (folder / "sample.parquet").exists():
            return str(known["digest"])
    drawn = sampling.draw(catalogue.snapshot(), chosen, plan.sample, plan.seed)
    places = projections.fit(drawn.vectors, plan.method, plan.seed)
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False), drawn.vectors.shape[1])
    columns = [pa.array(drawn.object_id), vectors.to_arrow(drawn.vectors, kind), *map(pa.array, places.T.copy())]
    with replacing(folder / "sample.parquet") as temporary:
        pq.write_table(pa.table(columns, names=[_ID, EMBEDDING, *_axes(name)]), temporary, compression="zstd")
    digest = _digest(drawn.object_id, places)
    write_json(folder / "map.json", {**wanted, "digest": digest, "fitted": len(drawn)})
    return digest


def _digest(identity: Any, places: Places) -> str:
    import hashlib

    return hashlib.sha256(identity.tobytes() + places.tobytes()).hexdigest()


def _place_tiles(
    catalogue: TileStore,
    plan: Plan,
    name: str,
    chosen: Selection,
    digest: str,
    progress: Callable[[int, int], None],
) -> Report:
    sample = pq.read_table(_folder(catalogue, name) / "sample.parquet")
    places = np.stack([sample.column(axis).to_numpy() for axis in _axes(name)], axis=1)
    place = _Known(Placer(vectors.from_arrow(sample.column(EMBEDDING)), places, plan.method), sample, places)
    snapshot = catalogue.snapshot()
    placed = kept = objects = 0
    for number, footer in enumerate(snapshot.footers, 1):
        receipt = {"digest": digest, "size": footer.size, "mtime_ns": footer.mtime_ns}
        path = _folder(catalogue, name) / "tiles" / f"{footer.tile}{SUFFIX}"
        there = _receipt(path)
        if there is None or {key: there.get(key) for key in receipt} != receipt:
            there = {**receipt, "objects": _place_tile(snapshot, footer, chosen, place, name, path, receipt)}
            placed += 1
        else:
            kept += 1
        objects += int(there["objects"])
        progress(number, len(snapshot.footers))
    return Report(name, len(sample), placed, kept, objects)


class _Known:
    """Fitted objects at their fitted places, others among them."""

    def __init__(self, placer: Placer, sample: pa.Table, places: Places) -> None:
        identity = sample.column(_ID).to_numpy()
        order = np.argsort(identity)
        self._identity, self._places, self._placer = identity[order], places[order], placer

    def __call__(self, identity: Any, unit: Vectors) -> Places:
        found = self._placer(unit)
        at = np.minimum(np.searchsorted(self._identity, identity), len(self._identity) - 1)
        fitted = self._identity[at] == identity
        found[fitted] = self._places[at[fitted]]
        return found


def _place_tile(
    snapshot: Snapshot,
    footer: Footer,
    chosen: Selection,
    place: _Known,
    name: str,
    path: Path,
    receipt: dict[str, Any],
) -> int:
    every = [part.column(_ID).to_numpy() for part in rows.tile_groups(snapshot, footer, [_ID])]
    identity = np.concatenate([np.zeros(0, np.int64), *every])
    coordinates = np.full((len(identity), 2), np.nan, np.float32)
    for part in rows.tile_groups(snapshot, footer, [_ID, EMBEDDING], chosen):
        embedding = vectors.from_arrow(part.column(EMBEDDING))
        sound = np.flatnonzero(vectors.sound(embedding))
        numbers = part.column(reading.ROW).to_numpy()[sound]
        coordinates[numbers] = place(identity[numbers], vectors.unit(embedding[sound]))
    objects = int(np.isfinite(coordinates[:, 0]).sum())
    schema = _schema(name).with_metadata({RECEIPT: json.dumps({**receipt, "objects": objects}, sort_keys=True)})
    with replacing(path) as temporary:
        columns = [pa.array(identity), *map(pa.array, coordinates.T.copy())]
        pq.write_table(pa.table(columns, schema=schema), temporary, compression="zstd")
    return objects


def _joined(
    snapshot: Snapshot,
    name: str,
    footer: Footer,
    schema: pa.Schema,
    chosen: Selection,
    rng: np.random.Generator,
    share: float,
) -> Iterator[pa.Table]:
    """The objects of a tile that are chosen and on the map, with the columns of ``schema``."""
    path = _folder(snapshot.catalogue, name) / "tiles" / f"{footer.tile}{SUFFIX}"
    receipt = _receipt(path) or {}
    if (receipt.get("size"), receipt.get("mtime_ns")) != (footer.size, footer.mtime_ns):
        log.warning("Tile %s is not on the map %s yet. Left out; run scanner map again.", footer.tile, name)
        return
    try:
        beside = pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, error) from error
    own = [one for one in schema.names if one not in _axes(name)]
    for part in rows.tile_groups(snapshot, footer, own, chosen):
        numbers = part.column(reading.ROW).to_numpy()
        drawn = rng.random(len(numbers)) < share
        drawn &= np.isfinite(beside.column(_axes(name)[0]).to_numpy()[numbers])
        part, numbers = part.filter(pa.array(drawn)), numbers[drawn]
        for axis in _axes(name):
            part = part.append_column(beside.schema.field(axis), beside.column(axis).take(numbers))
        yield part.select(schema.names)


def _objects(snapshot: Snapshot, name: str) -> int:
    """How many objects are on a map."""
    folder = _folder(snapshot.catalogue, name) / "tiles"
    receipts = (_receipt(folder / f"{footer.tile}{SUFFIX}") for footer in snapshot.footers)
    return sum(int(receipt["objects"]) for receipt in receipts if receipt)


def _receipt(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(pq.read_metadata(path).metadata[RECEIPT.encode()])
        return found
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def _axes(name: str) -> tuple[str, str]:
    return f"{name}_x", f"{name}_y"


def _schema(name: str) -> pa.Schema:
    """Columns of a map's tile files."""
    facts = [{"description": f"Coordinate on the map {name}; distances mean little far from an object"}] * 2
    axes = [pa.field(axis, pa.float32(), metadata=known) for axis, known in zip(_axes(name), facts, strict=True)]
    return pa.schema([pa.field(_ID, pa.int64(), nullable=False), *axes])
