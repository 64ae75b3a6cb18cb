"""Options of a scan, apart from where its tiles, model and catalogue are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalogs.digest import file_sha256
from scanner.encoder.options import BF16, ONNXRUNTIME, cpu_only
from scanner.sources import DETECTION_VERSION

if TYPE_CHECKING:
    from catalogs.store.provenance import Run
    from scanner.scan.best_rows import Keep

SOURCES = DETECT, GRID = "detect", "grid"
MEMORY = NORMAL, LOW = "normal", "low"
TIME_LIMIT = 1800.0
TILE_GB, READER_GB = 2.0, 1.0
"""Memory of the pixels of a tile, one for each reader and one for the encoder, and of a reading process itself."""


@dataclass(frozen=True)
class ScanOptions:
    """What is embedded, and how; from ``readers`` on, the options do not change the rows.

    ``sources``: detect, grid, or a catalogue file (a path; ``{tile}`` in it stands for the tile's name). ``bands``:
    those to read (None: all of the survey). ``min_snr``: signal-to-noise ratio of detected objects. ``stride``: grid
    spacing in pixels. ``keep``: which rows are stored (None: all). ``resample``: bring cutouts to the model's pixel
    scale. ``readers``: processes that read ahead, 0 reads in this one. ``memory``: normal, or low, where one process
    reads each tile in strips, twice. ``time_limit``: seconds after which a process that reads a tile (or a strip)
    counts as hung, and the transfer of a remote file as too slow. ``scratch``: the folder for copies of remote tiles
    (None: that for temporary files). ``verify``: read the files of tiles that are done, and scan damaged ones again.
    ``checksums``: refuse images that are not what they were when their DATASUM and CHECKSUM were written, where they
    have them.
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
    verify: bool = False
    checksums: bool = True

    @property
    def processes(self) -> int:
        """Number of reading processes; strips come in order from one."""
        return min(self.readers, 1) if self.memory == LOW else self.readers

    def settings(self) -> dict[str, Any]:
        """The options that determine rows, as JSON values."""
        settings: dict[str, Any] = {
            "recipe": DETECTION_VERSION,
            "resample": self.resample,
            "bands_read": list(self.bands) if self.bands else None,
        }
        if self.keep is not None:
            settings |= {"keep": self.keep.settings()}
        # Only what the chosen sources depend on: another --stride leaves detected rows as they are.
        if self.sources == DETECT:
            return settings | {"sources": DETECT, "min_snr": self.min_snr}
        if self.sources == GRID:
            return settings | {"sources": GRID, "stride": self.stride}
        return settings | {"sources": "file", "file": _identity(self.sources)}


def of_table(run: Run, sha256: str) -> Run:
    """The provenance of rows at the positions of the table with this digest; the run itself, where it is empty.

    A pattern names a table for each tile, so the digest of a tile's rows is that of its own table.
    """
    return replace(run, settings={**run.settings, "file": sha256}) if sha256 else run


def run_of_tile(run: Run, sources: str, tile: str) -> Run:
    """The provenance that the rows of a tile have if they are scanned now."""
    from scanner.sources.table_of_tile import path_for

    if "{tile}" not in sources:
        return run
    try:
        return of_table(run, file_sha256(path_for(sources, tile)))
    except OSError:  # which the scan of the tile reports
        return run


def _identity(path: str) -> str:
    """Digest of one file; a pattern itself, because it has a file for each tile."""
    from scanner.sources.position_files import check_file

    if "{tile}" in path:
        return path
    check_file(Path(path), "Give a catalogue file; {tile} in its path stands for the name of each tile.")
    return file_sha256(Path(path))


def default_readers(
    device: str, precision: str, workers: int = 1, of_this_machine: bool = True, runtime: str = ONNXRUNTIME
) -> int:
    """Number of reading processes for each of ``workers`` scans that share the cores and the memory of this machine.

    Beside a GPU, all cores but two read. On a CPU, where the encoder takes most of the time, one core of eight reads;
    in bf16 one of four, because the encoder is several times as fast.
    Scans on other machines, whose cores are unknown here, have one reader.
    """
    from scanner.encoder.session import gpu_count
    from scanner.system.resources import usable_cores, usable_memory

    if not of_this_machine:
        return 1
    on_gpu = device != "cpu" and (device != "auto" or (not cpu_only(runtime, precision) and gpu_count() > 0))
    share = 4 if precision == BF16 else 8
    cores = usable_cores() // workers
    room = usable_memory() / workers - TILE_GB
    return max(1, int(min(cores - 2 if on_gpu else cores // share, room / (TILE_GB + READER_GB))))
