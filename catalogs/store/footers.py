"""What the footers of the tile files say, without their rows: enough to know which tiles a question touches.

Reading 20,000 footers takes seconds, so they are kept in one small file, each valid while its tile's file is unchanged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import zlib
from dataclasses import astuple, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catalogs.atomic import write_text
from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.geometry import Circle
from catalogs.store.tile_writer import RUN_KEY, SKY_KEY

log = logging.getLogger(__name__)

SUFFIX = ".parquet"
_KEEP_FROM = 32  # footers read afresh that are worth a rewrite of the cache
_SAMPLE = 65_536
_BLOCK = 4 << 20  # bytes


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
    first_id: int
    last_id: int
    circle: Circle | None

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
            first_id=first,
            last_id=last,
            circle=Circle(**circle) if circle else None,
        )
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> ScannerError:
    """The error of a tile file that cannot be read."""
    return ScannerError(
        ErrorCode.TILE_DAMAGED,
        f"{path} cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
        f"Scan tile {path.stem} again; its file is replaced.",
    )


class Footers:
    """The footers of a folder of tile files, read once and again only for files that changed.

    ``cache`` is a file that is used if it is there, and brought up to date where it may be written.
    """

    def __init__(self, folder: Path, cache: Path, model_sha256: str) -> None:
        self._folder, self._cache, self._model_sha256 = folder, cache, model_sha256
        self._known: dict[str, Footer] | None = None

    def all(self) -> list[Footer]:
        """Footers of the readable tiles of this model, sorted by name; other files are named in a warning."""
        if self._known is None:
            self._known = _load(self._cache)
        current: dict[str, Footer] = {}
        fresh = 0
        for tile, stat in self._files():
            footer = self._known.get(tile)
            if footer is None or not footer.unchanged(stat):
                footer, fresh = self._read(self._folder / f"{tile}{SUFFIX}"), fresh + 1
            if footer:
                current[footer.tile] = footer
        self._known = current
        if fresh >= _KEEP_FROM:
            _save(self._cache, current)
        return [footer for footer in current.values() if self._of_model(footer)]

    def _files(self) -> list[tuple[str, os.stat_result]]:
        """Tiles that have a file, with its state, from one listing of the folder."""
        if not self._folder.is_dir():
            return []
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX) and not entry.name.startswith("."):
                    with contextlib.suppress(FileNotFoundError):  # it went away since it was listed
                        found.append((entry.name.removesuffix(SUFFIX), entry.stat()))
        return sorted(found)

    def _read(self, path: Path) -> Footer | None:
        try:
            return read(path)
        except ScannerError as error:
            log.warning("%s Left out. %s", error.message, error.hint)
            return None

    def _of_model(self, footer: Footer) -> bool:
        if footer.model_sha256 == self._model_sha256:
            return True
        log.warning("Tile %s was made with another model than its catalogue. Left out; scan it again.", footer.tile)
        return False


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


def checksum(path: Path) -> int:
    """CRC-32 of a whole file: about a second a gigabyte."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found = zlib.crc32(block, found)
    return found


def _id_range(found: pq.FileMetaData) -> tuple[int, int]:
    statistics = [found.row_group(group).column(0).statistics for group in range(found.num_row_groups)]
    if not statistics:
        return -1, -1
    return min(int(s.min) for s in statistics), max(int(s.max) for s in statistics)


def _load(cache: Path) -> dict[str, Footer]:
    try:
        entries = json.loads(cache.read_text(encoding="utf-8"))
        return {entry[0]: Footer(*[*entry[:-1], Circle(*entry[-1]) if entry[-1] else None]) for entry in entries}
    except (OSError, ValueError, TypeError, LookupError):
        return {}


def _save(cache: Path, footers: dict[str, Footer]) -> None:
    try:
        write_text(cache, json.dumps([astuple(footer) for footer in footers.values()]))
    except (OSError, ScannerError) as error:
        log.debug("the cache of footers stays as it is: %s", error)
