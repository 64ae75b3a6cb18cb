"""Shards: cutouts [N, B, W, W] in a memory-mapped file, a table that describes them beside it, and one manifest.

A shard is finished when its table exists. The footer of the table is the receipt: it holds the checksum of the pixels
and the digest of the task. A rerun keeps the shards of the same task and rebuilds the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalogs import atomic
from catalogs.digest import file_sha256
from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json
from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.survey.bands import BANDS

MANIFEST = "manifest.json"
SPLITS = TRAIN, VALIDATE = "train", "validate"
WINDOW = 80  # px of a cutout by default; the loader crops 64 of them, with jitter
AT_ONCE = 256  # cutouts of a shard in memory while it is made
UNIT = "nJy"
SKY = "sky"
"""Kind of the cutouts that are centred on no object."""
PAINTED = "_painted"
"""Ending of the source of shards with painted cutouts."""

_COLUMNS = (
    ("frame", pa.string(), "", "image that was cut"),
    (
        "kind",
        pa.string(),
        "",
        "object: centred on a detection; sky: anywhere; painted: with something painted, or its host",
    ),
    ("x", pa.float32(), "pixel", "0-based, in the file of the frame"),
    ("y", pa.float32(), "pixel", "0-based, in the file of the frame"),
    ("ra", pa.float64(), "deg", "ICRS; NaN where the frame has no place on the sky"),
    ("dec", pa.float64(), "deg", "ICRS; NaN where the frame has no place on the sky"),
    ("mag", pa.float32(), "mag", "AB, total, detection band"),
    ("mag_r", pa.float32(), "mag", "AB, r in an aperture of 3 arcsec"),
    ("flux_radius", pa.float32(), "arcsec", "half-light radius"),
    ("snr", pa.float32(), "", "signal to noise of the detection"),
    ("band_fraction", pa.float32(), "", "share of the pixels with data, in the bands that the frame has"),
    ("label", pa.string(), "", "what a simulated or painted object is, or a rejected candidate; empty for others"),
    ("theta_e", pa.float32(), "arcsec", "Einstein radius of a simulated or painted lens"),
    (
        "arc_white_snr",
        pa.float32(),
        "",
        "signal to noise of the painted images of a lens, if the noise of pixels were independent",
    ),
    ("host", pa.float32(), "", "number of the host in its frame: painted lenses and their hosts; NaN or -1 for others"),
)
SCHEMA = pa.schema(
    [
        pa.field(name, kind, metadata={"unit": unit, "description": text} if unit else {"description": text})
        for name, kind, unit, text in _COLUMNS
    ]
)
_RECEIPT = b"shard"


@dataclass(frozen=True)
class Shard:
    """Part of a shard in memory: ``pixels`` float32 [N, B, W, W] in nJy, NaN for no data; ``table`` of SCHEMA."""

    pixels: NDArray[np.float32]
    table: pa.Table


def make_table(count: int, **columns: Any) -> pa.Table:
    """Make a table of ``count`` rows of a text, number or array for each column; absent ones are blank or NaN."""
    arrays = []
    for field in SCHEMA:
        blank: Any = "" if pa.types.is_string(field.type) else np.nan
        values = np.broadcast_to(np.asarray(columns.pop(field.name, blank)), count)
        # NaN stays NaN; `from_pandas` would turn it into null.
        arrays.append(pa.array(values, from_pandas=False).cast(field.type))
    if columns:
        raise TypeError(f"no such columns: {sorted(columns)}")
    return pa.table(arrays, schema=SCHEMA)


def write_shard(
    folder: Path, name: str, parts: Iterable[Shard], about: Mapping[str, Any], window: int = WINDOW
) -> dict[str, Any]:
    """Write the pixels of all parts, then their table; returns the entry of the manifest, which holds ``about`` too.

    One part is in memory at a time.
    """
    file, tables = folder / f"{name}.npy", [SCHEMA.empty_table()]
    # The number of rows is known at the end: the header is written twice, and is of the same length both times.
    with atomic.replacing(file, clear=False) as temporary, temporary.open("wb") as stream:
        _write_header(stream, 0, window)
        for part in parts:
            stream.write(np.ascontiguousarray(part.pixels, np.float32).data)
            tables.append(part.table)
        count = sum(map(len, tables))
        _write_header(stream, count, window)
    entry = {"file": file.name, "rows": count, "sha256": file_sha256(file), **about}
    # The table is written last: with it the shard is finished.
    table = pa.concat_tables(tables).combine_chunks()
    table = table.replace_schema_metadata({_RECEIPT: json.dumps(entry, sort_keys=True)})
    with atomic.replacing(folder / f"{name}.parquet", clear=False) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    return entry


def _write_header(stream: BinaryIO, count: int, window: int) -> None:
    """Write the header of ``np.save``, whose padding leaves space for any number of rows."""
    stream.seek(0)
    shape = (count, len(BANDS), window, window)
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)


def finished_entry(folder: Path, name: str, task: str) -> dict[str, Any] | None:
    """Read the entry of a shard that is complete and was made for this task (a digest); None if it must be made."""
    try:
        metadata = pq.read_metadata(folder / f"{name}.parquet").metadata or {}
        entry: dict[str, Any] = load_json(metadata[_RECEIPT])
        shape = np.load(folder / entry["file"], mmap_mode="r").shape
    except (OSError, ValueError, KeyError, pa.ArrowInvalid):
        return None
    # Only the shape is compared, as a checksum would read all pixels; see `damaged_files`.
    whole = shape[:2] == (entry["rows"], len(BANDS))
    return entry if entry.get("task") == task and whole else None


def write_manifest(folder: Path, entries: Iterable[Mapping[str, Any]], seed: int, window: int = WINDOW) -> Path:
    """Write the manifest of these shards and of those in an earlier manifest whose files still exist."""
    path = folder / MANIFEST
    # Several runs may fill one folder, each with other sources.
    listed = {entry["file"]: entry for entry in _earlier(path, window) if (folder / entry["file"]).is_file()}
    listed.update({entry["file"]: entry for entry in entries})
    manifest = {
        "bands": BANDS,
        "pixel_scale": PIXEL_SCALE,
        "window": window,
        "unit": UNIT,
        "seed": seed,
        "software": _software(),
        "shards": [listed[file] for file in sorted(listed)],
    }
    atomic.write_json(path, manifest)
    return path


def check_seed(folder: Path, seed: int) -> None:
    """Raise ``shards.other_seed`` if the folder was made with another seed."""
    path = folder / MANIFEST
    before = load_json(path)["seed"] if path.is_file() else seed
    if before != seed:
        hint = f"Give --seed {before}, or another folder."
        raise ScannerError(ErrorCode.SHARDS_OTHER_SEED, f"{folder} holds shards of seed {before}, not {seed}.", hint)


def check_window(folder: Path, window: int) -> None:
    """Raise ``shards.other_pixels`` if the folder holds cutouts of another size."""
    _earlier(folder / MANIFEST, window)


def _earlier(path: Path, window: int) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    manifest = load_json(path)
    same = (tuple(manifest["bands"]), manifest["pixel_scale"], manifest["window"]) == (BANDS, PIXEL_SCALE, window)
    if not same:
        message = f"{path} lists shards of other bands, pixel scale or window."
        raise ScannerError(ErrorCode.SHARDS_OTHER_PIXELS, message, "Give another folder.")
    return list(manifest["shards"])


def _software() -> str:
    try:
        return f"unions-scanner {version('unions-scanner')}"
    except PackageNotFoundError:
        return "unions-scanner"


def damaged_files(folder: Path) -> list[str]:
    """List the files of the manifest whose checksum differs."""
    manifest = load_json(folder / MANIFEST)
    files = ((folder / entry["file"], entry["sha256"]) for entry in manifest["shards"])
    return [path.name for path, digest in files if not path.is_file() or file_sha256(path) != digest]


LOOKALIKE, LENS = "lookalike", "lens"
KINDS = ("galaxy", "star", LOOKALIKE, LENS)
"""Kinds of simulated objects, as the column ``label`` of shards names them."""
