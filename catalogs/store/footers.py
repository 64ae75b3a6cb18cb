"""Footers of the tile files: what is known of a tile without its rows, enough to tell which tiles a question touches.

Reading 20,000 footers takes seconds. They are cached in one small file, where each entry is valid while its tile's file
is unchanged.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zlib
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalogs import parquet_files
from catalogs.atomic import write_text
from catalogs.errors import ScannerError
from catalogs.records import load_json, read_record
from catalogs.sky.geometry import Circle
from catalogs.store import tile_checks
from catalogs.store.provenance import Info
from catalogs.store.tile_writer import RUN_KEY, SKY_KEY

log = logging.getLogger(__name__)

SUFFIX = ".parquet"
_WORTH_SAVING = 32  # fresh footers
_SAMPLE = 65_536  # bytes
_BLOCK = 4 << 20  # bytes
_CHECKS = 2  # version of the checks that a cached footer has passed


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
    first_id: int
    last_id: int
    circle: Circle | None

    def unchanged(self, stat: os.stat_result) -> bool:
        """Whether the file is the one that was read: files are replaced, never edited."""
        return (self.size, self.mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def read(path: Path, info: Info, schema: pa.Schema) -> Footer:
    """Read the footer of a tile file, and compare it with its name and with the catalogue it should belong to.

    Raises:
        ScannerError: ``tile.damaged`` where the file is truncated, damaged, or not this tile of this catalogue.
    """
    try:
        # The state is taken before the read: a file that is replaced in between is read again at the next listing.
        stat = path.stat()
        with parquet_files.open_file(path) as source:
            metadata, _ = parquet_files.read_footer(source)
        tile_checks.check_schema(metadata.schema.to_arrow_schema(), schema)
        receipt, sky = (load_json(metadata.metadata[key.encode()]) for key in (RUN_KEY, SKY_KEY))
        tile_checks.check_receipt(receipt, info)
        circle = None if sky is None else tile_checks.read_circle(sky)
        ids = tile_checks.check_row_groups(metadata, path.stem, circle)
        return Footer(
            tile=path.stem,
            size=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            rows=metadata.num_rows,
            digest=receipt["digest"],
            first_id=min((first for first, _ in ids), default=-1),
            last_id=max((last for _, last in ids), default=-1),
            circle=circle,
        )
    except KeyError as error:
        raise tile_checks.damaged(path, ValueError(f"its footer has no entry {error}")) from error
    except (OSError, pa.ArrowException, TypeError, ValueError) as error:
        raise tile_checks.damaged(path, error) from error


class Footers:
    """The footers of a folder of tile files; each is read once, and again only if its file changed.

    ``cache`` is a file that is read if it exists, and updated where it can be written.
    """

    def __init__(self, folder: Path, cache: Path, info: Info, schema: pa.Schema) -> None:
        self._folder, self._cache, self._info, self._schema = folder, cache, info, schema
        self._latest: dict[str, Footer] | None = None

    def all(self) -> tuple[list[Footer], list[ScannerError]]:
        """List the folder; returns the footers of its tiles, sorted by name, and what is wrong with each other file.

        Files that are damaged, or belong to another catalogue, are named in a warning.

        Raises:
            ScannerError: ``catalogue.no_permission``, ``catalogue.damaged``: the folder cannot be listed.
        """
        if self._latest is None:
            self._latest = self._load()
        current: dict[str, Footer] = {}
        errors: list[ScannerError] = []
        fresh = 0
        for tile, stat in self._list():
            footer = self._latest.get(tile)
            if footer is None or stat is None or not footer.unchanged(stat):
                try:
                    footer = read(self._folder / f"{tile}{SUFFIX}", self._info, self._schema)
                except ScannerError as error:
                    errors.append(error)
                    continue
                fresh += 1
            current[tile] = footer
        self._latest = current
        for problem in errors:
            log.warning("Skipped: %s %s", problem.message, problem.hint)
        # Few fresh footers are not worth a rewrite of the cache after every tile of a running scan.
        if fresh >= _WORTH_SAVING:
            self._save(current)
        return list(current.values()), errors

    def _list(self) -> list[tuple[str, os.stat_result | None]]:
        """List the tiles that have a file, with its state (None for a broken link), sorted by name."""
        files: list[tuple[str, os.stat_result | None]] = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if not entry.name.endswith(SUFFIX) or entry.name.startswith("."):
                        continue
                    try:
                        state = entry.stat()
                    except OSError as error:
                        # A file may be removed after it was listed. What stays is a broken link, and is named.
                        if isinstance(error, FileNotFoundError) and not entry.is_symlink():
                            continue
                        state = None
                    files.append((entry.name.removesuffix(SUFFIX), state))
        except OSError as error:
            # A catalogue without a tile has no folder for them yet.
            if isinstance(error, FileNotFoundError) and not self._folder.is_symlink():
                return []
            raise tile_checks.unreadable(self._folder, error) from error
        return sorted(files, key=lambda file: file[0])

    def _key(self) -> str:
        """Digest of what each footer was compared with, so that the cache of an edited catalogue is not believed."""
        facts = [_CHECKS, self._info.survey, self._info.bands, self._info.model_sha256, self._info.keep]
        facts += [self._info.runtime, self._info.precision]
        return hashlib.sha256(json.dumps([*facts, str(self._schema)]).encode()).hexdigest()

    def _load(self) -> dict[str, Footer]:
        """Read the cache; a damaged one is as good as none, since the footers can be read again."""
        try:
            key, entries = load_json(self._cache)
            if key != self._key():
                return {}
            footers = [read_record(_as_record(entry), Footer) for entry in entries]
            return {footer.tile: footer for footer in footers}
        except (OSError, ValueError, TypeError):
            return {}

    def _save(self, footers: dict[str, Footer]) -> None:
        try:
            write_text(self._cache, json.dumps([self._key(), [astuple(footer) for footer in footers.values()]]))
        except (OSError, ScannerError) as error:
            # A catalogue on a read-only disk can be read without a cache.
            log.debug("the cache of footers is not updated: %s", error)


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


def _as_record(entry: Any) -> dict[str, Any]:
    """Name the values of an entry, which is written as a list: with names the file would be half as long again."""
    # An entry of another version has another length. ``strict`` refuses it, and the cache counts as damaged.
    values = dict(zip([field.name for field in fields(Footer)], entry, strict=True))
    if values["circle"] is not None:
        values["circle"] = dict(zip([field.name for field in fields(Circle)], values["circle"], strict=True))
    return values
