"""Publishing: count the rows by pixel of the sky, write pixel after pixel, then margins, descriptions, and one rename.

All is written beside the target, into ``.<name>.partial``; the same command after an interruption goes on there, as
long as catalogue and options are the same. The collection takes its name when it is whole.

A survey of 4e8 rows of 192 dimensions, on paper: partitions of up to 200,000 rows fill to half on average, so 4,000 of
them, some 1.2 degrees wide. Counting reads 8 bytes a row (3 GB). A tile of half a degree touches two partitions on
average, so writing decodes 2 x 200 GB and encodes 184 GB once; nothing else is on disk twice but the margins. A margin
of 10" takes what lies in pixels of order 13 (26" wide) around each partition: 2.5 % of the rows, 5 GB. Memory: twice a
partition (2 x 200 MB), a row group and the counts, about 0.7 GB however many tiles there are. Measured (``make bench``)
at 240,000 rows: 13 CPU-seconds a million rows, so 1.4 hours of one core for the survey; 430 MB with partitions of
56,000 rows.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogs.atomic import locked, output_errors, remove_stale, write_json
from catalogs.errors import ErrorCode, ScannerError
from catalogs.hats import metadata as describe
from catalogs.hats.layout import Tables
from catalogs.hats.partitions import MAX_MARGIN, Counts, split
from catalogs.hats.writer import HEALPIX, Writer
from catalogs.store import rows
from catalogs.store.schema import IS_PRIMARY
from catalogs.store.snapshot import Snapshot

if TYPE_CHECKING:
    from catalogs.store.tile_store import TileStore

Progress = Callable[[int, int], None]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class Options:
    """What to publish and how.

    ``name`` is that of the collection (``obs_collection``); a partition holds at most ``rows_per_file`` rows;
    ``margin`` is in arcsec. Primary rows are taken, all with ``all_rows``, and of them those that pass ``where``.
    """

    name: str
    rows_per_file: int = 200_000
    margin: float = 10.0
    all_rows: bool = False
    where: str | None = None

    @property
    def filter(self) -> str:
        """The filter's text; rows without a position (pixel -1) have no place in a map of the sky."""
        parts = [f"({self.where})"] if self.where else []
        return " and ".join([*parts, *([] if self.all_rows else [IS_PRIMARY]), f"{HEALPIX} >= 0"])


@dataclass(frozen=True)
class Published:
    """What was written: rows, of which ``margin_rows`` are in the margin again, files of the sky, and bytes."""

    path: Path
    rows: int
    margin_rows: int
    partitions: int
    bytes: int


def publish(catalogue: TileStore, out: Path, options: Options, progress: Progress | None = None) -> Published:
    """Write ``catalogue`` to the folder ``out`` as a HATS collection: the objects, and their margin.

    ``progress`` is told how many partitions of how many are written. Raises ``ScannerError``: ``publish.not_empty``,
    ``publish.nothing``, ``publish.bad_option``, ``publish.damaged_tile``, ``publish.changed``, ``where.*``,
    ``output.*``.
    """
    _check(options)
    out = out.absolute()
    with locked(out.with_name(f".{out.name}.lock")), output_errors(out):
        try:
            _check_free(out)
            return _publish(catalogue, out, options, progress or (lambda done, of: None))
        finally:
            out.with_name(f".{out.name}.lock").unlink(missing_ok=True)


def _publish(catalogue: TileStore, out: Path, options: Options, progress: Progress) -> Published:
    snapshot = _sound(catalogue)
    counts = _count(snapshot, options)
    partial = out.with_name(f".{out.name}.partial")
    _begin(partial, _plan(snapshot, options))
    tables = Tables(partial / "collection", options.name, options.margin)
    pieces = split(counts.rows, options.rows_per_file)
    writer = Writer(snapshot, counts, pieces, tables, options.filter, partial / "margin")
    for done in writer.objects():
        progress(done, len(pieces))
    margin = writer.margins()
    found = describe.write(tables, catalogue, pieces, margin, counts.rows, asdict(options))
    if out.exists():
        out.rmdir()
    tables.folder.rename(out)
    shutil.rmtree(partial)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return Published(out, found.rows, found.margin_rows, len(pieces), size)


def _count(snapshot: Snapshot, options: Options) -> Counts:
    counts = Counts()
    chosen = rows.selection(snapshot.catalogue, options.filter, None)
    for number, footer in enumerate(snapshot.footers):
        for table in rows.tile_groups(snapshot, footer, [HEALPIX], chosen):
            counts.add(number, table.column(HEALPIX).to_numpy())
    if not counts.total:
        hint = "Try --all-rows, or another --where."
        message = f"No row of {snapshot.catalogue.path} is chosen: there is nothing to write."
        raise ScannerError(ErrorCode.PUBLISH_NOTHING, message, hint)
    return counts


def _sound(catalogue: TileStore) -> Snapshot:
    """Footers of all tiles: a collection from which a tile is missing without a word is none."""
    snapshot = catalogue.snapshot()
    if missing := sorted(set(catalogue.tiles()) - {footer.tile for footer in snapshot.footers}):
        raise ScannerError(
            ErrorCode.PUBLISH_DAMAGED_TILE,
            f"{len(missing)} tiles of {catalogue.path} cannot be read: {', '.join(missing[:10])}.",
            "Scan them again, or remove their files.",
        )
    return snapshot


def _plan(snapshot: Snapshot, options: Options) -> dict[str, Any]:
    """What must be the same for work that is there to be gone on with."""
    tiles = json.dumps([astuple(footer) for footer in snapshot.footers])
    return {
        "options": asdict(options),
        "model_sha256": snapshot.catalogue.info.model_sha256,
        "tiles_sha256": hashlib.sha256(tiles.encode()).hexdigest(),
    }


def _begin(partial: Path, plan: dict[str, Any]) -> None:
    """Keep the unfinished work of the same plan, remove that of another."""
    path = partial / "plan.json"
    try:
        same = json.loads(path.read_text(encoding="utf-8")) == plan
    except (OSError, ValueError):
        same = False
    if same:
        for folder in (partial, *(path for path in partial.rglob("*") if path.is_dir())):
            remove_stale(folder)
    else:
        shutil.rmtree(partial, ignore_errors=True)
        write_json(path, plan)


def _check(options: Options) -> None:
    if not _NAME.fullmatch(options.name):
        hint = "Use letters, digits, and _ . + - after the first."
        raise ScannerError(ErrorCode.PUBLISH_BAD_OPTION, f"{options.name!r} cannot name a collection.", hint)
    if not 0 < options.margin <= MAX_MARGIN or options.rows_per_file < 1:
        message = f'A margin of {options.margin}" and {options.rows_per_file} rows a file cannot be.'
        raise ScannerError(
            ErrorCode.PUBLISH_BAD_OPTION, message, f'Give a margin up to {MAX_MARGIN:g}", and 1 row or more.'
        )


def _check_free(out: Path) -> None:
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists():
        raise ScannerError(
            ErrorCode.PUBLISH_NOT_EMPTY,
            f"{out} is there already and not an empty folder.",
            "Give another folder, or remove that one first: a collection that others may be reading is never changed.",
        )
