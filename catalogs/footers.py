"""What the footers of the tile files say, without their rows: enough to know which tiles a question touches.

Reading 20,000 footers takes seconds, so they are kept in one small file, each valid while its tile's file is unchanged.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catalogs.atomic import write_json
from catalogs.errors import ScannerError
from catalogs.sky import Circle
from catalogs.writer import RUN_KEY, SKY_KEY

log = logging.getLogger(__name__)

_KEEP_FROM = 32  # footers read afresh that are worth a rewrite of the cache
_SAMPLE = 65_536


@dataclass(frozen=True)
class Footer:
    """One tile file: its identity on disk, its run and where its rows lie. ``circle`` is None for a tile without rows.

    ``first_id`` and ``last_id`` bound the object ids (-1 for a tile without rows).
    """

    tile: str
    size: int
    mtime_ns: int
    rows: int
    digest: str
    model_sha256: str
    circle: Circle | None
    first_id: int
    last_id: int

    def unchanged(self, stat: os.stat_result) -> bool:
        """Whether the file is the one that was read; files are replaced, never edited."""
        return (self.size, self.mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def read(path: Path) -> Footer:
    """Footer of a tile file; ``ScannerError`` ``tile.damaged`` where it is truncated or not one of ours."""
    try:
        stat = path.stat()
        found = pq.read_metadata(path)
        receipt = json.loads(found.metadata[RUN_KEY.encode()])
        circle = json.loads(found.metadata[SKY_KEY.encode()])
        first, last = _id_range(found)
        return Footer(
            tile=path.stem,
            size=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            rows=found.num_rows,
            digest=receipt["digest"],
            model_sha256=receipt["model_sha256"],
            circle=Circle(**circle) if circle else None,
            first_id=first,
            last_id=last,
        )
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> ScannerError:
    """The error of a tile file that cannot be read."""
    return ScannerError(
        "tile.damaged",
        f"{path} cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
        f"Scan tile {path.stem} again; its file is replaced.",
    )


def read_all(paths: Iterable[Path], cache: Path, model_sha256: str) -> list[Footer]:
    """Footers of all readable tiles of this model, in the order of ``paths``; the others are named in a warning.

    ``cache`` is read if it is there, and brought up to date where it may be written.
    """
    known = _load(cache)
    footers: dict[str, Footer] = {}
    fresh = 0
    for path in paths:
        try:
            footer = known.get(path.stem)
            if footer is None or not footer.unchanged(path.stat()):
                footer, fresh = read(path), fresh + 1
            footers[path.stem] = footer
        except FileNotFoundError:
            continue  # it went away since it was listed
        except ScannerError as error:
            log.warning("%s Left out. %s", error.message, error.hint)
    if fresh >= _KEEP_FROM:
        _save(cache, footers)
    return [footer for footer in footers.values() if _of_model(footer, model_sha256)]


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's length, first and last 64 KiB: an identity that stays cheap for gigabytes.

    A Parquet file ends with the size and statistics of everything in it, an Annoy file with its roots.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest.update(str(size).encode())
        for start in (0, max(size - _SAMPLE, 0)):
            file.seek(start)
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def _of_model(footer: Footer, model_sha256: str) -> bool:
    if footer.model_sha256 == model_sha256:
        return True
    log.warning("Tile %s was made with another model than its catalogue. Left out; scan it again.", footer.tile)
    return False


def _id_range(found: pq.FileMetaData) -> tuple[int, int]:
    statistics = [found.row_group(group).column(0).statistics for group in range(found.num_row_groups)]
    if not statistics:
        return -1, -1
    return min(int(s.min) for s in statistics), max(int(s.max) for s in statistics)


def _load(cache: Path) -> dict[str, Footer]:
    try:
        found = json.loads(cache.read_text(encoding="utf-8"))
        return {
            entry["tile"]: Footer(**{**entry, "circle": Circle(**entry["circle"]) if entry["circle"] else None})
            for entry in found
        }
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _save(cache: Path, footers: dict[str, Footer]) -> None:
    try:
        write_json(cache, [asdict(footer) for footer in footers.values()])
    except (OSError, ScannerError) as error:
        log.debug("the cache of footers stays as it is: %s", error)
