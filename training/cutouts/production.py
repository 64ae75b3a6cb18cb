"""Production of shards: each task makes one shard on its own, so any number of processes gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

from catalogs import atomic
from catalogs.parallel import one_core
from scanner.images import tile_images
from scanner.sources import DETECTION_VERSION
from scanner.survey.bands import BANDS
from scanner.survey.survey import Survey, load
from scanner.survey.tile import Tile
from scanner.survey.tile_list import read_list
from training.cutouts import real_fields, shards
from training.cutouts.cutting import TILE_SEEING, Plate, cut
from training.cutouts.real_fields import Frame
from training.cutouts.selection import Rule
from training.cutouts.shards import WINDOW, Shard

log = logging.getLogger(__name__)

VERSION = 2
"""Raise it when the same task gives other cutouts than before: shards of older versions are then rebuilt."""

REAL = Rule(least=1.0)
"""Faint objects of real images are not thinned, since real images are few."""


class Task(Protocol):
    """One shard to make. Its fields hold all that its cutouts depend on, including the version of ``detection``."""

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def split(self) -> str: ...

    @property
    def window(self) -> int: ...

    def parts(self) -> Iterator[Shard]:
        """Make the cutouts, at most ``shards.AT_ONCE`` in a part."""


@dataclass(frozen=True)
class FieldTask:
    """All frames of one source and split."""

    source: str
    split: str
    frames: tuple[Frame, ...]
    seed: int
    window: int = WINDOW
    rule: Rule = REAL
    detection: int = DETECTION_VERSION

    @property
    def name(self) -> str:
        return f"{self.source}-{self.split}"

    @property
    def paint(self) -> float:
        return self.frames[0].paint

    def plates(self) -> Iterator[Plate]:
        """Read the images one by one."""
        for frame in self.frames:
            yield Plate(
                self.source, real_fields.read(frame), frame.seeing, frame.sky, frame.columns, frame.avoid, frame.most,
                window=self.window,
            )  # fmt: skip

    def parts(self) -> Iterator[Shard]:
        for plate in self.plates():
            yield from cut(plate, self.rule, self.seed)


@dataclass(frozen=True)
class TileTask:
    """One tile of a survey."""

    survey: Survey
    tile: Tile
    seed: int
    window: int = WINDOW
    rule: Rule = REAL
    split: str = "train"
    detection: int = DETECTION_VERSION

    @property
    def source(self) -> str:
        return self.survey.name

    @property
    def name(self) -> str:
        return f"{self.source}-{self.tile.name}"

    def parts(self) -> Iterator[Shard]:
        opened = tile_images.open_tile(self.survey, self.tile, bands=BANDS, with_variance=False)
        yield from cut(Plate(self.source, opened, TILE_SEEING, window=self.window), self.rule, self.seed)


def field_tasks(root: Path, seed: int, window: int = WINDOW) -> list[FieldTask]:
    """List a task for each source and split of the real fields below ``root``."""
    frames = sorted(real_fields.frames(root), key=lambda frame: (frame.source, frame.split))
    groups = groupby(frames, key=lambda frame: (frame.source, frame.split))
    return [FieldTask(source, split, tuple(group), seed, window) for (source, split), group in groups]


def tile_tasks(
    listed: Path, root: Path, survey: str, seed: int, window: int = WINDOW, split: str = "train"
) -> list[Task]:
    """List a task for each tile of a list.

    Raises:
        ScannerError: A line of the list does not name a tile.
    """
    described = load(survey)
    tiles = read_list(listed, described, root)
    for tile in tiles:
        if tile.problem is not None:
            raise tile.problem
    return [TileTask(described, tile, seed, window, split=split) for tile in tiles]


def digest(task: Task) -> str:
    """Compute the SHA-256 of a task: a shard is rebuilt when it changes. The folder of its files does not count."""
    content = {"version": VERSION, "kind": type(task).__name__, **asdict(task)}  # type: ignore[call-overload]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        # Name and size stand for a file, so that its folder may move.
        return [value.name, value.stat().st_size]
    raise TypeError(f"{type(value).__name__} cannot be part of a task")


def make(folder: Path, task: Task) -> dict[str, Any]:
    """Make one shard unless it is finished already; returns its entry of the manifest."""
    task_digest = digest(task)
    if (entry := shards.finished_entry(folder, task.name, task_digest)) is not None:
        return entry
    about = {"source": task.source, "split": task.split, "task": task_digest}
    with one_core():
        return shards.write_shard(folder, task.name, task.parts(), about, task.window)


def produce(
    folder: Path, tasks: Sequence[Task], seed: int, workers: int = 1, tell: Callable[[str], None] = log.info,
    window: int = WINDOW,
) -> Path:  # fmt: skip
    """Make every shard that is missing in ``workers`` processes, then the manifest; returns its path.

    After an interruption the same call resumes, and gives the same files. All cutouts of a folder have the same
    ``window`` (px), which is that of its tasks.

    Raises:
        ScannerError: ``shards.other_seed`` or ``shards.other_pixels``, since a training may be using the shards there.
    """
    shards.check_seed(folder, seed)
    shards.check_window(folder, window)
    atomic.make_folder(folder)
    entries = []
    with atomic.without_stale(folder):
        # Shards end in any order; the manifest sorts them by name.
        for entry in _make(folder, tasks, workers):
            entries.append(entry)
            tell(f"{entry['file']}: {entry['rows']} cutouts ({len(entries)} of {len(tasks)} shards)")
    return shards.write_manifest(folder, entries, seed, window)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Give processes that are started in the block one thread for products, unless the user has set a number."""
    # Libraries read it when they are loaded. More threads would wait busily where all cores are taken.
    added = [name for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _make(folder: Path, tasks: Sequence[Task], workers: int) -> Iterator[dict[str, Any]]:
    if workers <= 1:
        yield from (make(folder, task) for task in tasks)
        return
    with _one_thread_each(), ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        pending: set[Future[dict[str, Any]]] = {pool.submit(make, folder, task) for task in tasks}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BaseException:
            # Shards that are not begun yet are dropped. Finished ones stay, and the next run resumes there. Processes
            # end before this returns: what they leave is removed.
            pool.shutdown(cancel_futures=True)
            raise
