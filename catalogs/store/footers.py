"""Footers of the tile files: what is known of a tile without its rows, enough to tell which tiles a question touches.

Reading 20,000 footers takes seconds. They are cached in one small file, where each entry is valid while its tile's file
is unchanged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import zlib
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalogs.atomic import write_text
from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json, read_record
from catalogs.sky.geometry import Circle
from catalogs.store.tile_writer import RUN_KEY, SKY_KEY

log = logging.getLogger(__name__)

SUFFIX = ".parquet"
_WORTH_SAVING = 32  # fresh footers
_SAMPLE = 65_536  # bytes
_BLOCK = 4 << 20  # bytes


@dataclass(frozen=True)
class Footer:
    """One tile file: its identity on disk, the run that made it, and where its rows lie.

    ``circle`` is None for a tile without rows. ``first_id`` and ``last_id`` bound the object ids; they are -1 for a
    tile without rows.
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
        """Whether the file is the one that was read: files are replaced, never edited."""
        return (self.size, self.mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def read(path: Path) -> Footer:
    """Read the footer of a tile file.

    Raises:
        ScannerError: ``tile.damaged`` where the file is truncated or not a tile of a catalogue.
    """
    try:
        stat = path.stat()
        # The state is taken before the read: a file that is replaced in between is read again at the next listing.
        metadata = pq.read_metadata(path)
        receipt = load_json(metadata.metadata[RUN_KEY.encode()])
        circle = load_json(metadata.metadata[SKY_KEY.encode()])
        # The ids are the first column; a tile without rows has no row group.
        ids = [metadata.row_group(group).column(0).statistics for group in range(metadata.num_row_groups)]
        return Footer(
            tile=path.stem,
            size=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            rows=metadata.num_rows,
            digest=receipt["digest"],
            model_sha256=receipt["model_sha256"],
            first_id=min((int(one.min) for one in ids), default=-1),
            last_id=max((int(one.max) for one in ids), default=-1),
            circle=Circle(**circle) if circle else None,
        )
    except (OSError, pa.ArrowException, AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> ScannerError:
    """Make the error of a tile file that cannot be read."""
    return ScannerError(
        ErrorCode.TILE_DAMAGED,
        f"{path} cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
        f"Scan tile {path.stem} again; its file is replaced.",
    )


class Footers:
    """The footers of a folder of tile files; each is read once, and again only if its file changed.

    ``cache`` is a file that is read if it exists, and updated where it can be written.
    """

    def __init__(self, folder: Path, cache: Path, model_sha256: str) -> None:
        self._folder, self._cache, self._model_sha256 = folder, cache, model_sha256
        self._latest: dict[str, Footer] | None = None

    def all(self) -> list[Footer]:
        """List the folder and return the footers of readable tiles of this model, sorted by name.

        Other files are named in a warning.
        """
        if self._latest is None:
            self._latest = _load(self._cache)
        current: dict[str, Footer] = {}
        fresh = 0
        for tile, stat in self._list():
            footer = self._latest.get(tile)
            if footer is None or not footer.unchanged(stat):
                fresh += 1
                try:
                    footer = read(self._folder / f"{tile}{SUFFIX}")
                except ScannerError as error:
                    log.warning("Skipped: %s %s", error.message, error.hint)
                    continue
            current[tile] = footer
        self._latest = current
        # Few fresh footers are not worth a rewrite of the cache after every tile of a running scan.
        if fresh >= _WORTH_SAVING:
            _save(self._cache, current)
        # The cache holds footers of any model, so the model is checked at each listing.
        return [footer for footer in current.values() if self._of_model(footer)]

    def _list(self) -> list[tuple[str, os.stat_result]]:
        """List the tiles that have a file, with its state, sorted by name."""
        if not self._folder.is_dir():
            return []
        files = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX) and not entry.name.startswith("."):
                    # A file may be removed after it was listed.
                    with contextlib.suppress(FileNotFoundError):
                        files.append((entry.name.removesuffix(SUFFIX), entry.stat()))
        return sorted(files)

    def _of_model(self, footer: Footer) -> bool:
        if footer.model_sha256 == self._model_sha256:
            return True
        log.warning("Skipped: tile %s was made with another model than its catalogue. Scan it again.", footer.tile)
        return False


def fingerprint(path: Path) -> str:
    """Compute the SHA-256 of a file's length, first and last 64 KiB: an identity that is cheap for gigabytes.

    A Parquet file ends with the size and statistics of its whole content, an Annoy file with its roots.
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
    """Compute the CRC-32 of a whole file."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return crc


def _load(cache: Path) -> dict[str, Footer]:
    """Read the cache; a damaged one is as good as none, since the footers can be read again."""
    try:
        entries = load_json(cache)
        footers = [read_record(_as_record(entry), Footer) for entry in entries]
        return {footer.tile: footer for footer in footers}
    except (OSError, ValueError, TypeError):
        return {}


def _as_record(entry: Any) -> dict[str, Any]:
    """Name the values of an entry, which is written as a list: with names the file would be half as long again."""
    # An entry of another version has another length. ``strict`` refuses it, and the cache counts as damaged.
    values = dict(zip([field.name for field in fields(Footer)], entry, strict=True))
    if values["circle"] is not None:
        values["circle"] = dict(zip([field.name for field in fields(Circle)], values["circle"], strict=True))
    return values


def _save(cache: Path, footers: dict[str, Footer]) -> None:
    try:
        write_text(cache, json.dumps([astuple(footer) for footer in footers.values()]))
    except (OSError, ScannerError) as error:
        # A catalogue on a read-only disk can be read without a cache.
        log.debug("the cache of footers is not updated: %s", error)
