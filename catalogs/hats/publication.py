"""Publishing: count rows by HEALPix pixel, write the partitions and their margins, then the metadata, and rename.

All files are written beside the target, into ``.<name>.partial``. The same command resumes an interrupted run there, as
long as catalogue and options are the same. The collection gets its name when it is complete. Memory is twice a
partition, a row group and the counts, whatever the number of tiles.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from catalogs.atomic import check_name, locked, output_errors, remove_stale, write_json
from catalogs.errors import ErrorCode, ScannerError
from catalogs.hats import metadata
from catalogs.hats.layout import Tables
from catalogs.hats.partitions import MAX_MARGIN, Counts, split
from catalogs.hats.writer import Writer, damaged_tiles, read_rows
from catalogs.records import load_json
from catalogs.store import rows
from catalogs.store.backend import Snapshot
from catalogs.store.schema import HEALPIX, IS_PRIMARY
from catalogs.store.tile_store import TileStore

Progress = Callable[[int, int], None]
COLLECTION, PLAN, REPORT = "collection", "plan.json", "report.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class Options:
    """What to publish, and how.

    ``name`` is that of the collection (``obs_collection``). A partition holds at most ``rows_per_file`` rows;
    ``margin`` is in arcsec. Primary rows (with ``all_rows``: all) that pass ``where`` are published.
    """

    name: str
    rows_per_file: int = 200_000
    margin: float = 10.0
    all_rows: bool = False
    where: str | None = None

    @property
    def filters(self) -> tuple[str, ...]:
        """The filters that a row must all pass."""
        # Rows without a position have pixel -1 and belong to no partition.
        return (self.where or "", "" if self.all_rows else IS_PRIMARY, f"{HEALPIX} >= 0")


@dataclass(frozen=True)
class PublishReport:
    """What was written: ``rows``, of which ``margin_rows`` are in the margin as well, partitions, and bytes."""

    path: Path
    rows: int
    margin_rows: int
    partitions: int
    bytes: int


def publish(catalogue: TileStore, out: Path, options: Options, progress: Progress | None = None) -> PublishReport:
    """Write ``catalogue`` to the folder ``out`` as a HATS collection: the objects, and their margin.

    ``progress`` takes the number of partitions that are written, and of all.

    Raises:
        ScannerError: ``publish.not_empty``, ``publish.nothing``, ``publish.bad_option``, ``publish.damaged_tile``,
            ``publish.changed``, ``where.*``, ``output.*``.
    """
    if not _NAME.fullmatch(options.name):
        hint = "Use letters, digits, and _ . + - after the first."
        raise ScannerError(ErrorCode.PUBLISH_BAD_OPTION, f"{options.name!r} cannot name a collection.", hint)
    if not 0 < options.margin <= MAX_MARGIN or options.rows_per_file < 1:
        message = f'A margin of {options.margin}" with {options.rows_per_file} rows a file is not possible.'
        hint = f'Give a margin up to {MAX_MARGIN:g}", and 1 row or more.'
        raise ScannerError(ErrorCode.PUBLISH_BAD_OPTION, message, hint)
    with output_errors(out, creating=True):  # the working folder may be gone
        out = out.absolute()
    check_name(out)
    # The lock lies beside the target, which must stay empty until the end.
    with locked(out.with_name(f".{out.name}.lock"), temporary=True), output_errors(out):
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            if (report := _finish(catalogue, out, options)) is not None:
                return report
            message = f"{out} exists and is not an empty folder."
            hint = "Give another folder, or remove this one: a published collection is never changed."
            raise ScannerError(ErrorCode.PUBLISH_NOT_EMPTY, message, hint)
        return _write(catalogue, out, options, progress or (lambda done, of: None))


def _finish(catalogue: TileStore, out: Path, options: Options) -> PublishReport | None:
    """Finish a publication that was killed after its rename to ``out``; None if ``out`` is of another command."""
    partial = out.with_name(f".{out.name}.partial")
    try:
        record = load_json(partial / REPORT)
        plan, report = record["plan"], PublishReport(**{**record["report"], "path": out})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if (partial / COLLECTION).exists():
        return None
    _clear(partial)
    return report if plan == _plan(catalogue.snapshot(), options) else None


def _clear(partial: Path) -> None:
    """Remove what a finished publication leaves, the report last, so that a killed run is finished by the next."""
    for path in partial.iterdir():
        if path.name != REPORT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(partial)


def _write(catalogue: TileStore, out: Path, options: Options, progress: Progress) -> PublishReport:
    snapshot = catalogue.snapshot()
    # A collection without a damaged tile would look complete.
    if snapshot.errors:
        raise damaged_tiles(snapshot.errors)
    counts = _count(snapshot, options)
    # On the same disk as the target, so that the last step is a rename.
    partial = out.with_name(f".{out.name}.partial")
    _resume_or_clear(partial, snapshot, options)
    tables = Tables(partial / COLLECTION, options.name, options.margin)
    partitions = split(counts.rows, options.rows_per_file)
    writer = Writer(snapshot, counts, partitions, tables, options.filters, partial / "margin")
    for done in writer.write_objects():
        progress(done, len(partitions))
    margins = writer.write_margins()
    written = metadata.write(tables, catalogue, partitions, margins, counts.rows, asdict(options))
    size = sum(path.stat().st_size for path in tables.folder.rglob("*") if path.is_file())
    report = PublishReport(out, written.rows, written.margin_rows, len(partitions), size)
    # The report tells the next run that the collection in the place of the target is this one.
    write_json(partial / REPORT, {"plan": _plan(snapshot, options), "report": {**asdict(report), "path": str(out)}})
    # An empty folder is in the way of the rename; it was checked above that it is empty.
    if out.exists():
        out.rmdir()
    tables.folder.rename(out)
    _clear(partial)
    return report


def _count(snapshot: Snapshot, options: Options) -> Counts:
    counts = Counts()
    chosen = rows.selection(snapshot.catalogue, options.filters, None)
    for number, footer in enumerate(snapshot.footers):
        for table in read_rows(snapshot, footer, [HEALPIX], chosen):
            counts.add(number, table.column(HEALPIX).to_numpy())
    if not counts.total:
        message = f"No row of {snapshot.catalogue.path} passes the filter: there is nothing to write."
        raise ScannerError(ErrorCode.PUBLISH_NOTHING, message, "Try --all-rows, or another --where.")
    return counts


def _resume_or_clear(partial: Path, snapshot: Snapshot, options: Options) -> None:
    """Keep unfinished work of the same tiles, model and options; remove any other."""
    plan = _plan(snapshot, options)
    try:
        same = load_json(partial / PLAN) == plan
    except (OSError, ValueError):
        same = False
    if same:
        for folder in (partial, *(path for path in partial.rglob("*") if path.is_dir())):
            remove_stale(folder)
    else:
        shutil.rmtree(partial, ignore_errors=True)
        write_json(partial / PLAN, plan)


def _plan(snapshot: Snapshot, options: Options) -> dict[str, Any]:
    """What a publication is made from; footers have the size and time of each tile file."""
    tiles = json.dumps([astuple(footer) for footer in snapshot.footers])
    return {
        "options": asdict(options),
        "model_sha256": snapshot.catalogue.info.model_sha256,
        "tiles_sha256": hashlib.sha256(tiles.encode()).hexdigest(),
    }
