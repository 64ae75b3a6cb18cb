"""Reports of a scan: one per tile, and their sum."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import read_record
from scanner.sources.dropped import Dropped

Status = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class Seconds:
    """Time by stage, summed over the threads and processes that worked on it; stages overlap in wall time."""

    read: float = 0.0
    detect: float = 0.0
    cut: float = 0.0
    infer: float = 0.0
    write: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class TileReport:
    """The outcome of one tile. ``objects`` are rows stored, ``dropped`` positions gave none: ``dropped_by`` says why.

    ``done``: its file is in the catalogue. ``skipped``: it was there already. ``failed``: ``code``, ``message`` and
    ``hint`` say why, and the catalogue keeps them. ``notes`` are sentences on what was read by a convention.
    """

    tile: str
    status: Status
    objects: int = 0
    dropped: int = 0
    seconds: Seconds = Seconds()
    code: str = ""
    message: str = ""
    hint: str = ""
    notes: tuple[str, ...] = ()
    dropped_by: Dropped = field(default_factory=Dropped)

    @classmethod
    def failed(cls, tile: str, error: BaseException) -> TileReport:
        """The report of a tile that could not be scanned. An unexpected error comes with its place in the code."""
        if isinstance(error, ScannerError):
            return cls(tile, "failed", code=error.code, message=error.message, hint=error.hint)
        if isinstance(error, MemoryError):
            why = f"Tile {tile} needs more memory than is available."
            return cls(tile, "failed", code=ErrorCode.TILE_OUT_OF_MEMORY, message=why, hint="Lower --readers.")
        # A list of a thousand tiles must not end with one odd tile, nor hide a bug: name the line.
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({frames[-1].name}, line {frames[-1].lineno} of {frames[-1].filename})" if frames else ""
        return cls(
            tile,
            "failed",
            code=ErrorCode.TILE_UNEXPECTED,
            message=f"Tile {tile} raised an unexpected error: {error!r}{where}.",
            hint="Report this message with the name of the tile; other tiles are not affected.",
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TileReport:
        """The report whose ``to_dict`` this is. Raises ``ValueError`` where it is not one."""
        return read_record(values, cls)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "code": str(self.code)}


@dataclass(frozen=True)
class ScanReport:
    """The outcome of every tile, in the order in which they ended; ``wall`` is the time of the scan in seconds."""

    tiles: tuple[TileReport, ...]
    wall: float

    def count(self, status: Status) -> int:
        return sum(tile.status == status for tile in self.tiles)

    @property
    def failed(self) -> tuple[TileReport, ...]:
        return tuple(tile for tile in self.tiles if tile.status == "failed")

    @property
    def objects(self) -> int:
        """Rows written by this scan."""
        return sum(tile.objects for tile in self.tiles if tile.status == "done")

    @property
    def dropped(self) -> Dropped:
        """Positions of all tiles that gave no row; those off a tile are counted for each tile."""
        return sum((tile.dropped_by for tile in self.tiles), Dropped())

    @property
    def seconds(self) -> Seconds:
        return sum((tile.seconds for tile in self.tiles), Seconds())

    def to_dict(self) -> dict[str, Any]:
        """JSON values: the sums, then the tiles."""
        return {
            "done": self.count("done"),
            "skipped": self.count("skipped"),
            "failed": self.count("failed"),
            "objects": self.objects,
            "wall_seconds": self.wall,
            "seconds": asdict(self.seconds),
            "tiles": [tile.to_dict() for tile in self.tiles],
        }
