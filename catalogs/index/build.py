"""The index of a catalogue: shards over bounded numbers of rows, brought up to date tile by tile.

An index can be incomplete but not wrong: it covers tile files by their identity, and tiles that it does not cover are
searched exactly. A shard is rebuilt when one of its tiles changed or was removed, or when it takes new tiles; all
others are kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from catalogs import parallel
from catalogs.atomic import locked, output_errors, without_stale
from catalogs.errors import ErrorCode, ScannerError
from catalogs.index import ENGINES, assignment, ranges, shards, tuning
from catalogs.index.assignment import Assignment
from catalogs.index.coverage import covering, is_same
from catalogs.index.engine import find_engine
from catalogs.index.settings import IndexSettings
from catalogs.index.shards import Shard
from catalogs.store import vectors
from catalogs.store.footers import Footer
from catalogs.store.schema import EMBEDDING
from catalogs.store.vectors import Vectors

if TYPE_CHECKING:
    from catalogs.store.backend import Snapshot
    from catalogs.store.tile_store import TileStore

log = logging.getLogger(__name__)

SEED = 1
DIMS = 64
"""Leading numbers that are indexed, where they hold half of the variance."""
CANDIDATES = 500
"""Candidates of each shard that are ranked again."""
SHARD_ROWS = 1_048_576
_SAMPLE = 20_000
_IN_THIS_PROCESS = 50_000
"""Rows below which starting a process takes longer than the work."""


@dataclass(frozen=True)
class IndexOptions:
    """How to build an index; None keeps the setting of the existing index, or takes the default.

    ``target`` is a recall@10 for which trees and effort are chosen by measurement. ``jobs`` processes build at once
    (None: this one builds). ``all_bytes`` verifies every byte of the existing index and rebuilds damaged shards.
    """

    engine: str | None = None
    dims: int | None = None
    trees: int | None = None
    seed: int | None = None
    target: float | None = None
    shard_rows: int = SHARD_ROWS
    jobs: int | None = None
    all_bytes: bool = False


@dataclass(frozen=True)
class IndexReport:
    """What ``build_index`` did: ``rows`` are indexed, ``skipped`` have no valid vector, ``bytes`` are on disk.

    ``recipe`` holds the settings, under the name that the command's JSON has for them.
    """

    tiles: int
    rows: int
    skipped: int
    bytes: int
    built: tuple[str, ...]
    kept: tuple[str, ...]
    recipe: IndexSettings | None


def build_index(catalogue: TileStore, options: IndexOptions | None = None) -> IndexReport:
    """Bring the index up to date; only shards with new, changed or removed tiles are built.

    A second process waits for the first. A killed build leaves an index that can be searched; the next run finishes it.

    Raises:
        ScannerError: ``output.full``, ``output.read_only``, ``index.bad_engine``, ``index.no_engine``,
            ``index.bad_dims``, ``index.process_died``, ``index.recall``.
    """
    options = options or IndexOptions()
    folder = catalogue.path / "index"
    with locked(folder / ".lock"), without_stale(folder):
        # Scratch folders are of tuning that was killed.
        for scratch in folder.glob(f"{tuning.FOLDER}*"):
            shutil.rmtree(scratch, ignore_errors=True)
        footers = catalogue.snapshot().footers
        existing = assignment.find_shards(catalogue, folder, options.all_bytes)
        before = {name: [tile.tile for tile in shard.tiles] for name, shard in existing.items()}
        assigned = assignment.assign(before, footers, options.shard_rows)
        settings = _choose_settings(catalogue, options, _earlier_settings(catalogue, folder), footers)
        update = _Update(catalogue, assigned, existing)
        if options.target is not None and assigned:
            settings = update.tune(settings, options.target, options)
        kept = update.finish(settings, options.jobs)
        done = list(update.done.values())
        # Files of earlier builds go last, so that the index can be searched meanwhile.
        _remove_others(folder, done)
    return IndexReport(
        tiles=sum(len(shard.tiles) for shard in done),
        rows=sum(shard.rows for shard in done),
        skipped=update.skipped,
        bytes=sum(shard.bytes + ranges.size(shard, folder) for shard in done),
        built=tuple(sorted(set(assigned) - kept)),
        kept=tuple(sorted(kept)),
        recipe=settings if assigned else None,
    )


def count_indexed_rows(catalogue: TileStore, snapshot: Snapshot | None = None) -> int:
    """Count the rows that the index covers now; all others are read from their tiles.

    Raises:
        ScannerError: As ``covering``.
    """
    pairs = covering(catalogue, (snapshot or catalogue.snapshot()).footers)
    return sum(c.rows for shard, tiles in pairs for c, tile in zip(shard.tiles, tiles, strict=True) if tile)


class _Update:
    """An update of the index: what is assigned to each shard, and the shards that are ``done`` so far."""

    def __init__(self, catalogue: TileStore, assigned: Assignment, existing: Mapping[str, Shard]) -> None:
        self._catalogue, self._assigned = catalogue, assigned
        self.done = {name: shard for name, shard in existing.items() if self._is_current(name, shard)}
        self._before = {name: shard.content for name, shard in self.done.items()}
        self.skipped = 0

    def _is_current(self, name: str, shard: Shard) -> bool:
        tiles = self._assigned.get(name, [])
        if not tiles or [tile.tile for tile in shard.tiles] != [footer.tile for footer in tiles]:
            return False
        return all(is_same(self._catalogue, footer, tile) for footer, tile in zip(tiles, shard.tiles, strict=True))

    def tune(self, settings: IndexSettings, target: float, options: IndexOptions) -> IndexSettings:
        """Choose trees and effort that reach a recall in the largest shard, which is built first if necessary."""
        name = max(self._assigned, key=lambda name: sum(footer.rows for footer in self._assigned[name]))
        self._build([name], settings, options.jobs)
        trees = find_engine(settings.engine).TREES if options.trees is None else (options.trees,)
        return tuning.tune(self.done[name], self._catalogue.path / "index", target, trees)

    def finish(self, settings: IndexSettings, jobs: int | None) -> set[str]:
        """Build all shards that are missing or outdated; returns the names of the shards that were kept."""
        self._build(list(self._assigned), settings, jobs)
        folder = self._catalogue.path / "index"
        for name, shard in self.done.items():
            # Other settings of the search alone leave the data files as they are.
            if shard.recipe != settings:
                self.done[name] = replace(shard, recipe=settings)
                self.done[name].save(folder)
            shards.mark_checked(shard, folder)
            # Those of earlier versions get one without being rebuilt.
            if ranges.read(shard, folder) is None:
                ranges.write(self._catalogue, shard)
        return {name for name, shard in self.done.items() if self._before.get(name) == shard.content}

    def _build(self, names: Sequence[str], settings: IndexSettings, jobs: int | None) -> None:
        outdated = [n for n in names if n not in self.done or self.done[n].recipe.file_key != settings.file_key]
        rows = [sum(footer.rows for footer in self._assigned[name]) for name in outdated]
        folder = self._catalogue.path / "index"
        # Few rows are built here, without the start of a process.
        if jobs is not None and sum(rows) < _IN_THIS_PROCESS:
            jobs = None
        # An engine that maps its file is killed by SIGBUS on a full disk, so the space is checked first.
        sizes = sorted(shards.estimate_bytes(count, self._catalogue.info.dim, settings) for count in rows)
        _check_space(folder, sum(sizes[-(jobs or 1) :]))
        # Only worker processes build on disk: a full disk kills them, not this one.
        on_disk = jobs is not None
        works = [
            partial(_build_shard, self._catalogue.path, name, self._assigned[name], settings, on_disk)
            for name in outdated
        ]
        for name, (shard, skipped) in zip(outdated, parallel.each(works, jobs, folder), strict=True):
            log.info("%s: %s objects of %s tiles", name, f"{shard.rows:,}", len(shard.tiles))
            self.done[name], self.skipped = shard, self.skipped + skipped


def _earlier_settings(catalogue: TileStore, folder: Path) -> IndexSettings | None:
    """Read the settings from the sidecars: damaged data files do not change how an index is to be built."""
    for path in sorted(folder.glob("shard-*.json")):
        with contextlib.suppress(ScannerError):
            shard = shards.read(path, catalogue.info.dim)
            if shard.model_sha256 == catalogue.info.model_sha256:
                return shard.recipe
    return None


def _choose_settings(
    catalogue: TileStore, options: IndexOptions, before: IndexSettings | None, footers: Sequence[Footer]
) -> IndexSettings:
    """Take each setting from the options, else from ``before``, else from the defaults of the engine."""
    name = options.engine or (before.engine if before else ENGINES[0])
    engine = find_engine(name)
    if options.dims is not None and options.dims > catalogue.info.dim:
        message = f"{options.dims} leading dimensions cannot be indexed: the embeddings have {catalogue.info.dim}."
        hint = "Give fewer, or leave the choice to scanner index."
        raise ScannerError(ErrorCode.INDEX_BAD_DIMS, message, hint)
    # Trees and effort mean something else to another engine; the dimensions stay.
    if before is None or before.engine != name:
        dims = before.dims if before else options.dims or _choose_dims(catalogue, footers)
        before = IndexSettings(name, dims, engine.TREES[0], SEED, engine.EFFORT, CANDIDATES)
    return replace(
        before,
        dims=before.dims if options.dims is None else options.dims,
        trees=before.trees if options.trees is None else options.trees,
        seed=before.seed if options.seed is None else options.seed,
    )


def _choose_dims(catalogue: TileStore, footers: Sequence[Footer]) -> int:
    """Take 64 dimensions, doubled until they hold half of the variance of the first rows."""
    dims, dim = DIMS, catalogue.info.dim
    with contextlib.suppress(StopIteration):
        share = np.cumsum(np.var(next(_samples(catalogue, footers)), axis=0, dtype=np.float64))
        while dims < dim and share[dims - 1] < share[-1] / 2:
            dims *= 2
    return min(dims, dim)


def _samples(catalogue: TileStore, footers: Sequence[Footer]) -> Iterator[Vectors]:
    """Yield the valid vectors of each row group that has any, at most ``_SAMPLE``."""
    for footer in footers:
        # A tile that cannot be read is named later, when it is to be indexed.
        with contextlib.suppress(ScannerError), catalogue.open_tile(footer.tile) as file:
            for table in file.groups([EMBEDDING]):
                embedding = vectors.from_arrow(table.column(EMBEDDING))[:_SAMPLE]
                sound = vectors.sound(embedding)
                if sound.any():
                    yield embedding[sound]


def _build_shard(
    catalogue_path: Path, name: str, tiles: Sequence[Footer], settings: IndexSettings, on_disk: bool
) -> tuple[Shard, int]:
    """Build and commit one shard, here or in a process of its own; also counts the rows without a valid vector."""
    from catalogs.store.tile_store import TileStore

    catalogue = TileStore.open(catalogue_path)
    # The name of the data files depends on all that they are built from.
    inputs = [[footer.tile, footer.size, footer.mtime_ns] for footer in tiles] + [settings.file_key]
    content = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:12]
    info = catalogue.info
    empty = Shard(name, content, info.dim, settings, info.model_sha256, rows=0, files=(), tiles=())
    builder = shards.Builder(catalogue.path / "index", empty, on_disk)
    readers = [(catalogue.tile_path(footer.tile), partial(_groups, catalogue, footer)) for footer in tiles]
    shard = builder.build(readers, lambda error: log.warning("%s Not indexed. %s", error.message, error.hint))
    return shard, builder.skipped


def _groups(catalogue: TileStore, footer: Footer) -> Iterator[pa.Table]:
    with catalogue.open_tile(footer.tile) as file:
        yield from file.groups(shards.COLUMNS)


def _check_space(folder: Path, needed: int) -> None:
    with output_errors(folder):
        free = shutil.disk_usage(folder).free
    if free < needed:
        message = f"The disk of {folder} has {free / 1e9:.2f} GB free; the index needs {needed / 1e9:.2f} GB."
        hint = "Free some space and run the same command again: finished shards are kept."
        raise ScannerError(ErrorCode.OUTPUT_FULL, message, hint)


def _remove_others(folder: Path, kept: Sequence[Shard]) -> None:
    """Remove files that are not part of the index."""
    keep = {f"{shard.name}.json" for shard in kept}
    suffixes = (*shards.SUFFIXES, ranges.SUFFIX)
    keep |= {shard.path(folder, suffix).name for shard in kept for suffix in suffixes}
    # Earlier versions wrote a plan for several machines.
    for pattern in [*(f"*{suffix}" for suffix in suffixes), "shard-*.json", "plan.json"]:
        for path in folder.glob(pattern):
            if path.name not in keep:
                path.unlink(missing_ok=True)
