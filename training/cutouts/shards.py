"""Shards: cutouts [N, B, W, W] in a memory-mapped file, what they show in a table beside it, and one manifest for all.

A shard is finished when its table is there: the table's footer is its receipt and holds the checksum of the pixels and
the digest of what was asked for. A rerun keeps what answers the same question and makes the rest again.
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
from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.survey.bands import BANDS

MANIFEST = "manifest.json"
WINDOW = 80  # px of a cutout, unless others are asked for; the loader crops 64 of them, with jitter
AT_ONCE = 256  # cutouts in memory, of those that are being made
UNIT = "nJy"

_COLUMNS = (
    ("frame", pa.string(), "", "image that was cut"),
    ("kind", pa.string(), "", "object: centred on a detection; sky: anywhere"),
    ("x", pa.float32(), "pixel", "0-based, in the file of the frame"),
    ("y", pa.float32(), "pixel", "0-based, in the file of the frame"),
    ("ra", pa.float64(), "deg", "ICRS; NaN where the frame has no place on the sky"),
    ("dec", pa.float64(), "deg", "ICRS; NaN where the frame has no place on the sky"),
    ("mag", pa.float32(), "mag", "AB, total, detection band"),
    ("mag_r", pa.float32(), "mag", "AB, r in an aperture of 3 arcsec"),
    ("flux_radius", pa.float32(), "arcsec", "half-light radius"),
    ("snr", pa.float32(), "", "signal to noise of the detection"),
    ("band_fraction", pa.float32(), "", "share of the pixels with data, in the bands that the frame has"),
    ("label", pa.string(), "", "what a simulated object is; empty for real ones"),
    ("theta_e", pa.float32(), "arcsec", "Einstein radius of a simulated lens"),
)
SCHEMA = pa.schema(
    [
        pa.field(name, kind, metadata={"unit": unit, "description": said} if unit else {"description": said})
        for name, kind, unit, said in _COLUMNS
    ]
)
_RECEIPT = b"shard"


@dataclass(frozen=True)
class Shard:
    """A part of a shard in memory: ``pixels`` float32 [N, B, W, W] in nJy, NaN for no data; ``table`` describes each
    (SCHEMA)."""

    pixels: NDArray[np.float32]
    table: pa.Table


def rows(count: int, **columns: Any) -> pa.Table:
    """A table of ``count`` rows: a text, a number or an array for every column, blank or NaN where there is none."""
    arrays = []
    for field in SCHEMA:
        blank: Any = "" if pa.types.is_string(field.type) else np.nan
        values = np.broadcast_to(np.asarray(columns.pop(field.name, blank)), count)
        arrays.append(pa.array(values, from_pandas=False).cast(field.type))
    if columns:
        raise TypeError(f"no such columns: {sorted(columns)}")
    return pa.table(arrays, schema=SCHEMA)


def write(
    folder: Path, name: str, parts: Iterable[Shard], about: Mapping[str, Any], window: int = WINDOW
) -> dict[str, Any]:
    """Write the pixels of all parts, one after the other, then their table; returns the manifest's entry.

    ``about`` (source, split, task, ...) goes into the entry. One part is in memory at a time.
    """
    file, tables = folder / f"{name}.npy", [SCHEMA.empty_table()]
    with atomic.replacing(file) as temporary, temporary.open("wb") as stream:
        _write_header(stream, 0, window)
        for part in parts:
            stream.write(np.ascontiguousarray(part.pixels, np.float32).data)
            tables.append(part.table)
        count = sum(map(len, tables))
        _write_header(stream, count, window)
    entry = {"file": file.name, "rows": count, "sha256": file_sha256(file), **about}
    table = pa.concat_tables(tables).combine_chunks()
    table = table.replace_schema_metadata({_RECEIPT: json.dumps(entry, sort_keys=True)})
    with atomic.replacing(folder / f"{name}.parquet") as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return entry


def _write_header(stream: BinaryIO, count: int, window: int) -> None:
    """That of ``np.save``, which has room for any number of rows."""
    stream.seek(0)
    shape = (count, len(BANDS), window, window)
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)


def finished(folder: Path, name: str, task: str) -> dict[str, Any] | None:
    """The entry of a shard that is there, whole, and was made for this task (a digest); None if it must be made."""
    try:
        metadata = pq.read_metadata(folder / f"{name}.parquet").metadata or {}
        entry: dict[str, Any] = json.loads(metadata[_RECEIPT])
        shape = np.load(folder / entry["file"], mmap_mode="r").shape
    except (OSError, ValueError, KeyError, pa.ArrowInvalid):
        return None
    whole = shape[:2] == (entry["rows"], len(BANDS))
    return entry if entry.get("task") == task and whole else None


def write_manifest(folder: Path, entries: Iterable[Mapping[str, Any]], seed: int, window: int = WINDOW) -> Path:
    """List the shards: these ones, and those of an earlier manifest here that still exist under other names."""
    path = folder / MANIFEST
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
    """Raise where a finished folder was made with another seed."""
    path = folder / MANIFEST
    before = json.loads(path.read_text(encoding="utf-8"))["seed"] if path.is_file() else seed
    if before != seed:
        hint = f"Give --seed {before}, or another folder."
        raise ScannerError(ErrorCode.SHARDS_OTHER_SEED, f"{folder} holds shards of seed {before}, not {seed}.", hint)


def check_window(folder: Path, window: int) -> None:
    """Raise where a finished folder holds cutouts of another size."""
    _earlier(folder / MANIFEST, window)


def _earlier(path: Path, window: int) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    manifest = json.loads(path.read_text(encoding="utf-8"))
    same = (tuple(manifest["bands"]), manifest["pixel_scale"], manifest["window"]) == (BANDS, PIXEL_SCALE, window)
    if not same:
        raise ScannerError(
            ErrorCode.SHARDS_OTHER_PIXELS, f"{path} lists shards of another kind.", "Give another folder."
        )
    return list(manifest["shards"])


def _software() -> str:
    try:
        return f"unions-scanner {version('unions-scanner')}"
    except PackageNotFoundError:
        return "unions-scanner"


def damaged(folder: Path) -> list[str]:
    """Files of the manifest whose bytes are not those that were written."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return [entry["file"] for entry in manifest["shards"] if not _intact(folder / entry["file"], entry["sha256"])]


def _intact(path: Path, digest: str) -> bool:
    return path.is_file() and file_sha256(path) == digest


KINDS = ("galaxy", "star", "lookalike", "lens")
"""What a simulated object may be, as the tables beside the shards call it."""
