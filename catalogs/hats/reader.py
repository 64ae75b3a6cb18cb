"""Reading a HATS collection of any survey: its columns, and the rows near given positions.

Source: IVOA note "HATS" 1.0. Local folders are read, with what their property files say of coordinates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from catalogs.errors import ErrorCode, ScannerError
from catalogs.hats.layout import dataset
from catalogs.hats.partitions import Partition, find_neighbours, margin_order
from catalogs.store.schema import HEALPIX_ORDER, healpix29

_COLLECTION, _PROPERTIES = "collection.properties", ("hats.properties", "properties")
_HINT = "Give the folder of a HATS collection or of one of its tables."


def is_hats(path: Path) -> bool:
    """Tell whether a folder has the property file of a collection or of a table."""
    return any((path / name).is_file() for name in (_COLLECTION, *_PROPERTIES))


@dataclass(frozen=True)
class HatsTable:
    """A table of objects: its ``name``, the columns of its positions in degrees, its Arrow schema, and its files."""

    name: str
    folder: Path
    ra: str
    dec: str
    schema: pa.Schema
    partitions: tuple[tuple[Partition, Path], ...]

    @classmethod
    def of(cls, path: Path) -> HatsTable:
        """Open the objects of a collection, or a table.

        Raises:
            ScannerError: ``hats.unreadable``.
        """
        try:
            return cls._of(path)
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            what = f"it says nothing of {error.args[0]}" if isinstance(error, KeyError) else str(error).rstrip(".")
            message = f"{path} cannot be read as a HATS collection: {what}."
            raise ScannerError(ErrorCode.HATS_UNREADABLE, message, _HINT) from error

    @classmethod
    def _of(cls, path: Path) -> HatsTable:
        folder = path
        if (path / _COLLECTION).is_file():
            member = Path(_read_properties(path / _COLLECTION)["hats_primary_table_url"])
            # A collection may not lead anywhere else on the machine.
            if member.is_absolute() or ".." in member.parts or "://" in str(member):
                raise ValueError(f"its table {member} is not a folder in it")
            folder = path / member
        file = next((folder / name for name in _PROPERTIES if (folder / name).is_file()), None)
        if file is None:
            raise ValueError(f"{folder} has no property file")
        told = _read_properties(file)
        partitions = tuple(_find_partitions(dataset(folder)))
        if not partitions:
            raise ValueError(f"{dataset(folder)} holds no Norder=*/Dir=*/Npix=* files")
        schema = pq.read_schema(_first_file(partitions[0][1]))
        ra, dec = told["hats_col_ra"], told["hats_col_dec"]
        if missing := [name for name in (ra, dec) if name not in schema.names]:
            raise ValueError(f"its files have no column {' and '.join(missing)}, which its properties name")
        return cls(told.get("obs_collection", folder.name), folder, ra, dec, schema, partitions)

    def near(self, ra: ArrayLike, dec: ArrayLike, radius: float, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the rows of every partition within ``radius`` degrees of a position (and others), with these columns.

        Raises:
            ScannerError: ``hats.unreadable``.
        """
        ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
        finite = np.isfinite(ra) & np.isfinite(dec)
        # Pixels that are nowhere narrower than the radius: those around a position's hold all that is as near.
        order = min(max(margin_order(max(radius * 3600, 1e-3)), 0), HEALPIX_ORDER)
        shift = 2 * (HEALPIX_ORDER - order)
        own = np.unique(healpix29(ra[finite], dec[finite]) >> shift)
        starts = np.unique(np.concatenate([own, find_neighbours(own, order).ravel()])) << shift
        for partition, path in self.partitions:
            first = np.searchsorted(starts + (np.int64(1) << shift), partition.start, side="right")
            if first < len(starts) and starts[first] < partition.stop:
                try:
                    yield pq.read_table(path, columns=list(columns), partitioning=None)
                except (OSError, ValueError, pa.ArrowException) as error:
                    message = f"{path} cannot be read: {str(error).rstrip('.')}."
                    raise ScannerError(ErrorCode.HATS_UNREADABLE, message, _HINT) from error


def _read_properties(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
    return {key.strip(): value.strip() for key, value in pairs}


def _find_partitions(folder: Path) -> Iterator[tuple[Partition, Path]]:
    """Find the partitions by their names; a partition is a file, or a folder of files."""
    for path in sorted(folder.glob("Norder=*/Dir=*/Npix=*")):
        order, pixel = path.parents[1].name.removeprefix("Norder="), path.name.removeprefix("Npix=")
        number = pixel.removesuffix(".parquet")
        if order.isdigit() and number.isdigit() and int(order) <= HEALPIX_ORDER:
            yield Partition(int(order), int(number), 0), path


def _first_file(path: Path) -> Path:
    return next(iter(sorted(path.rglob("*.parquet")))) if path.is_dir() else path
