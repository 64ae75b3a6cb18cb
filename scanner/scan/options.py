"""What a scan may be told, apart from where its tiles, model and catalogue are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogs.errors import ErrorCode, ScannerError
from scanner.sources import DETECTION_VERSION

if TYPE_CHECKING:
    from scanner.scan.best_rows import Keep

SOURCES = DETECT, GRID = "detect", "grid"
MEMORY = NORMAL, LOW = "normal", "low"
TIME_LIMIT = 1800.0
TILE_GB, READER_GB = 2.0, 1.0
"""Memory of a tile's pixels, of which there is one for each reader and one for the encoder, and of a reader itself."""


@dataclass(frozen=True)
class ScanOptions:
    """``sources``: detect, grid, or a catalogue file (a path; ``{tile}`` in it stands for the tile's name).

    ``bands``: those to read (None: all of the survey). ``min_snr``: of detected objects. ``stride``: of the grid, in
    pixels. ``keep``: which rows are stored (None: all). ``resample``: bring windows to the model's pixel scale.
    ``readers``: processes that read ahead, 0 reads in this one; they do not change the rows. ``memory``: normal, or
    low, by which one of them reads each tile in strips, twice; the rows are the same. ``time_limit``: seconds that a
    process may take to read a tile (or a strip) before it counts as hung. ``scratch``: the folder for copies of remote
    tiles (None: that for temporary files).
    """

    sources: str = DETECT
    bands: tuple[str, ...] | None = None
    min_snr: float = 5.0
    stride: int = 32
    keep: Keep | None = None
    resample: bool = False
    readers: int = 1
    memory: str = NORMAL
    time_limit: float = TIME_LIMIT
    scratch: Path | None = None

    @property
    def processes(self) -> int:
        """Reading processes: strips come in order from one."""
        return min(self.readers, 1) if self.memory == LOW else self.readers

    def settings(self) -> dict[str, Any]:
        """What of this makes rows, as JSON values."""
        found: dict[str, Any] = {
            "recipe": DETECTION_VERSION,
            "resample": self.resample,
            "bands_read": list(self.bands) if self.bands else None,
        }
        if self.keep is not None:
            found |= {"keep": self.keep.settings()}
        if self.sources == DETECT:
            return found | {"sources": DETECT, "min_snr": self.min_snr}
        if self.sources == GRID:
            return found | {"sources": GRID, "stride": self.stride}
        return found | {"sources": "file", "file": _identity(self.sources)}


def _identity(path: str) -> str:
    """Digest of one file; of a pattern the pattern itself, for its files are as many as the tiles."""
    from catalogs.digest import file_sha256

    if "{" in path:
        return path
    if not Path(path).is_file():
        hint = "Say detect or grid, or give a catalogue file; {tile} in its path stands for the name of each tile."
        raise ScannerError(ErrorCode.SOURCES_MISSING, f"There is no catalogue {path}.", hint)
    return file_sha256(Path(path))


def default_readers(device: str, precision: str, workers: int = 1, of_this_machine: bool = True) -> int:
    """How many processes read ahead in each of ``workers`` scans that share the cores and the memory of this machine.

    Beside a GPU all cores but two read; on a CPU one of eight, as there it is the encoder that takes the time. How the
    machines of a cluster are made is not known here: one.
    """
    from scanner.encoder.session import gpu_count
    from scanner.system.resources import usable_cores, usable_memory

    if not of_this_machine:
        return 1
    on_gpu = device != "cpu" and (device != "auto" or (precision != "int8" and gpu_count() > 0))
    cores = usable_cores() // workers
    room = usable_memory() / workers - TILE_GB
    return max(1, int(min(cores - 2 if on_gpu else cores // 8, room / (TILE_GB + READER_GB))))
