"""The index of a catalogue: shards over bounded numbers of rows, brought up to date tile by tile.

An index is never wrong, only incomplete: it vouches for tile files by their identity, and what it does not vouch for
is searched exactly. A shard is rebuilt when a tile of its own changed or went, or when it has room for new tiles; all
others are left alone.
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
from catalogs.atomic import locked, output_errors, remove_stale
from catalogs.errors import ErrorCode, ScannerError
from catalogs.index import assignment as plans
from catalogs.index import engine as engines
from catalogs.index import shards, tuning
from catalogs.index.assignment import Share
from catalogs.index.coverage import covering, same
from catalogs.index.engine import Recipe
from catalogs.index.shards import Shard
from catalogs.store import vectors
from catalogs.store.footers import Footer
from catalogs.store.schema import EMBEDDING
from catalogs.store.tile_reader import TileFile
from catalogs.store.vectors import Vectors

if TYPE_CHECKING:
    from catalogs.store.tile_store import TileStore

log = logging.getLogger(__name__)

SEED = 1
DIMS = 64  # leading numbers that are indexed, where they hold half of the variance
CANDIDATES = 500  # ranked again in each shard
SHARD_ROWS = 1_048_576  # half a minute and half a gigabyte to build
_SAMPLE = 20_000
_IN_THIS_PROCESS = 50_000  # rows below which a process would start for longer than it works


@dataclass(frozen=True)
class Options:
    """What is asked of an index; None keeps what the index has, or else what was measured to be good.

    ``target`` is a recall@10 for which trees and effort are then chosen by measurement. ``jobs`` processes build at
    once (None: this one builds). ``share`` (3, 8): build only the shards of the third of eight machines.
    ``all_bytes``: read all of what stands, to build anew what is damaged anywhere.
    """

    engine: str | None = None
    dims: int | None = None
    trees: int | None = None
    seed: int | None = None
    target: float | None = None
    shard_rows: int = SHARD_ROWS
    jobs: int | None = None
    share: Share | None = None
    all_bytes: bool = False

    def __post_init__(self) -> None:
        if self.share is not None and not 1 <= self.share[0] <= self.share[1]:
            raise ValueError(f"There is no share {self.share[0]} of {self.share[1]}.")
        if self.share is not None and self.target is not None:
            raise ValueError("What suits the whole index cannot be measured by a share of it.")


@dataclass(frozen=True)
class IndexReport:
    """What ``build`` did: ``rows`` are indexed now, ``skipped`` have no sound vector, ``bytes`` lie on disk."""

    tiles: int
    rows: int
    skipped: int
    bytes: int
    built: tuple[str, ...]
    kept: tuple[str, ...]
    recipe: Recipe | None


def build(catalogue: TileStore, options: Options | None = None) -> IndexReport:
    """Bring the index up to date; only shards with new, changed or vanished tiles are built.

    A second process waits for the first, unless both build a ``share``. Killed at any moment it leaves an index that
    answers; the next run finishes. A share is of its own shards alone; a run without one waits until all are through,
    finds them built, makes what is missing and removes what is left over. Raises ``ScannerError`` ``output.full``,
    ``output.read_only``, ``index.bad_engine``, ``index.no_engine``, ``index.bad_dims``, ``index.process_died``,
    ``index.recall``.
    """
    options = options or Options()
    folder = catalogue.path / "index"
    with locked(folder / ".lock", shared=options.share is not None):
        _clean(folder)
        found = catalogue.snapshot().footers
        standing = plans.standing(catalogue, folder, options.all_bytes)
        if options.share is None:
            plan = plans.whole(folder, standing, found, options.shard_rows)
        else:
            plan = plans.agreed(folder, standing, found, options.shard_rows, options.share)
        recipe = _recipe(catalogue, options, _before(catalogue, folder), found)
        run = _Run(catalogue, plan, standing)
        if options.target is not None and plan:
            recipe = run.tuned(recipe, options)
        kept = run.rest(recipe, options.jobs)
        done = list(run.done.values())
        _remove_others(folder, done, whole=options.share is None)
    return IndexReport(
        tiles=sum(len(shard.tiles) for shard in done),
        rows=sum(shard.rows for shard in done),
        skipped=run.skipped,
        bytes=sum(shard.bytes for shard in done),
        built=tuple(sorted(set(plan) - kept)),
        kept=tuple(sorted(kept)),
        recipe=recipe if plan else None,
    )


def coverage(catalogue: TileStore) -> int:
    """How many rows the index answers for now; all others are read from their tiles. Raises as ``covering`` does."""
    standing = covering(catalogue, catalogue.snapshot().footers)
    return sum(c.rows for shard, tiles in standing for c, tile in zip(shard.tiles, tiles, strict=True) if tile)


class _Run:
    """One bringing up to date: the plan, what stands, and what is done so far."""

    def __init__(
        self, catalogue: TileStore, plan: Mapping[str, Sequence[Footer]], standing: Mapping[str, Shard]
    ) -> None:
        self._catalogue, self._plan = catalogue, plan
        self.done = {name: shard for name, shard in standing.items() if name in plan and self._fresh(shard, plan[name])}
        self._from_before = dict(self.done)
        self.skipped = 0

    def tuned(self, recipe: Recipe, options: Options) -> Recipe:
        """The recipe that reaches the wanted recall in the largest shard, which is built first if it has to be."""
        assert options.target is not None
        name = max(self._plan, key=lambda name: sum(footer.rows for footer in self._plan[name]))
        self._build([name], recipe, options.jobs)
        trees = engines.named(recipe.engine).TREES if options.trees is None else (options.trees,)
        return tuning.recipe_for(self.done[name], self._catalogue.path / "index", options.target, trees)

    def rest(self, recipe: Recipe, jobs: int | None) -> set[str]:
        """Build what is not as it should be; the names of the shards that were left alone."""
        self._build(list(self._plan), recipe, jobs)
        folder = self._catalogue.path / "index"
        for name, shard in self.done.items():
            if shard.recipe != recipe:  # made alike, asked otherwise: the sidecar alone changes
                self.done[name] = replace(shard, recipe=recipe)
                self.done[name].save(folder)
            shards.settle(shard, folder)
        before = {name: shard.content for name, shard in self._from_before.items()}
        return {name for name, shard in self.done.items() if before.get(name) == shard.content}

    def _build(self, names: Sequence[str], recipe: Recipe, jobs: int | None) -> None:
        wanted = [n for n in names if n not in self.done or self.done[n].recipe.made != recipe.made]
        rows = {name: sum(footer.rows for footer in self._plan[name]) for name in wanted}
        folder = self._catalogue.path / "index"
        if jobs is not None and sum(rows.values()) < _IN_THIS_PROCESS:
            jobs = None
        needed = sorted(shards.bytes_needed(count, self._catalogue.info.dim, recipe) for count in rows.values())
        _look_for_room(folder, sum(needed[-(jobs or 1) :]))
        on_disk = jobs is not None
        works = [
            partial(_build_shard, self._catalogue.path, name, self._plan[name], recipe, on_disk) for name in wanted
        ]
        for name, (shard, skipped) in zip(wanted, parallel.each(works, jobs, folder), strict=True):
            log.info("%s: %s objects of %s tiles", name, f"{shard.rows:,}", len(shard.tiles))
            self.done[name], self.skipped = shard, self.skipped + skipped

    def _fresh(self, shard: Shard, tiles: Sequence[Footer]) -> bool:
        if [tile.tile for tile in shard.tiles] != [footer.tile for footer in tiles]:
            return False
        return all(same(self._catalogue, footer, tile) for footer, tile in zip(tiles, shard.tiles, strict=True))


def _before(catalogue: TileStore, folder: Path) -> Recipe | None:
    """The recipe that the sidecars hold: damaged data files do not change how an index is to be made."""
    for path in sorted(folder.glob("shard-*.json")):
        with contextlib.suppress(ScannerError):
            shard = shards.read(path, catalogue.info.dim)
            if shard.model_sha256 == catalogue.info.model_sha256:
                return shard.recipe
    return None


def _recipe(catalogue: TileStore, options: Options, before: Recipe | None, found: Sequence[Footer]) -> Recipe:
    """The one asked for, else the one from ``before``, else the defaults of its engine."""
    name = options.engine or (before.engine if before else "annoy")
    engine = engines.named(name)
    if options.dims is not None and options.dims > catalogue.info.dim:
        message = f"{options.dims} leading dimensions cannot be indexed: the embeddings have {catalogue.info.dim}."
        raise ScannerError(
            ErrorCode.INDEX_BAD_DIMS, message, "Give fewer, or none: then they are chosen by what they hold."
        )
    if before is None or before.engine != name:
        dims = before.dims if before else options.dims or _leading(catalogue, found)
        before = Recipe(name, dims, engine.TREES[0], SEED, engine.EFFORT, CANDIDATES)
    return replace(
        before,
        dims=before.dims if options.dims is None else options.dims,
        trees=before.trees if options.trees is None else options.trees,
        seed=before.seed if options.seed is None else options.seed,
    )


def _leading(catalogue: TileStore, found: Sequence[Footer]) -> int:
    """64 dimensions, or twice that and so on, until they hold half of the variance of the first rows."""
    dims, dim = DIMS, catalogue.info.dim
    with contextlib.suppress(StopIteration):
        share = np.cumsum(np.var(next(_samples(catalogue, found)), axis=0, dtype=np.float64))
        while dims < dim and share[dims - 1] < share[-1] / 2:
            dims *= 2
    return min(dims, dim)


def _samples(catalogue: TileStore, found: Sequence[Footer]) -> Iterator[Vectors]:
    """Sound vectors of each row group that has any, at most ``_SAMPLE``."""
    for footer in found:
        # A tile that cannot be read is named later, when it is to be indexed.
        with contextlib.suppress(ScannerError), TileFile(catalogue.tile_path(footer.tile)) as file:
            for table in file.groups([EMBEDDING]):
                embedding = vectors.from_arrow(table.column(EMBEDDING))[:_SAMPLE]
                sound = vectors.sound(embedding)
                if sound.any():
                    yield embedding[sound]


def _build_shard(
    catalogue_path: Path, name: str, tiles: Sequence[Footer], recipe: Recipe, on_disk: bool
) -> tuple[Shard, int]:
    """Build and commit one shard, here or in a process of its own; also how many rows had no sound vector."""
    from catalogs.store.tile_store import TileStore

    catalogue = TileStore.open(catalogue_path)
    paths = [catalogue.tile_path(footer.tile) for footer in tiles]
    known = [[footer.tile, footer.size, footer.mtime_ns] for footer in tiles] + [recipe.made]
    content = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:12]
    info = catalogue.info
    empty = Shard(name, content, info.dim, recipe, info.model_sha256, rows=0, files=(), tiles=())
    builder = shards.Builder(catalogue.path / "index", empty, on_disk)
    given = [(path, partial(_groups, path)) for path in paths]
    shard = builder.build(given, lambda error: log.warning("%s Not indexed. %s", error.message, error.hint))
    return shard, builder.skipped


def _groups(path: Path) -> Iterator[pa.Table]:
    with TileFile(path) as file:
        yield from file.groups(shards.COLUMNS)


def _look_for_room(folder: Path, needed: int) -> None:
    """An engine that maps its file dies of SIGBUS on a full disk, so one that is nearly full is not begun on."""
    with output_errors(folder):
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise ScannerError(
            ErrorCode.OUTPUT_FULL,
            f"There is no room to build in {folder}: {needed / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free.",
            "Free some space and run the same command again: what was finished is kept.",
        )


def _clean(folder: Path) -> None:
    remove_stale(folder)
    for left in folder.glob(f"{tuning.FOLDER}*"):
        shutil.rmtree(left, ignore_errors=True)


def _remove_others(folder: Path, kept: Sequence[Shard], whole: bool) -> None:
    """What is no part of the index any more, its plan among it; if not of the ``whole``, earlier data of those kept."""
    keep = {f"{shard.name}.json" for shard in kept}
    keep |= {shard.path(folder, suffix).name for shard in kept for suffix in shards.SUFFIXES}
    stems = ["*"] if whole else [f"{shard.name}-*" for shard in kept]
    patterns = [f"{stem}{suffix}" for stem in stems for suffix in shards.SUFFIXES]
    for pattern in [*patterns, "shard-*.json", plans.AGREED] if whole else patterns:
        for path in folder.glob(pattern):
            if path.name not in keep:
                path.unlink(missing_ok=True)
