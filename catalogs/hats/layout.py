"""Names of the files and folders of a HATS collection, and its property files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalogs.atomic import write_text

HATS_VERSION, HATS_RELEASED = "v1.0", "2025-08-22"
METADATA, COMMON_METADATA = "_metadata", "_common_metadata"
_DIRECTORY = 10_000
"""Pixels that share a folder."""


@dataclass(frozen=True)
class Tables:
    """The two tables of a collection: the objects, and for each pixel those within ``margin`` arcsec outside it."""

    folder: Path
    name: str
    margin: float

    @property
    def objects(self) -> Path:
        return self.folder / self.name

    @property
    def margins(self) -> Path:
        return self.folder / f"{self.name}_{self.margin:g}arcs".replace(".", "p")


def partition_path(order: int, pixel: int) -> Path:
    """Name the file of a HEALPix pixel, relative to the ``dataset`` folder of a table."""
    return Path(f"Norder={order}", f"Dir={pixel // _DIRECTORY * _DIRECTORY}", f"Npix={pixel}.parquet")


def dataset(table: Path) -> Path:
    """Name the folder of the Parquet files of a table."""
    return table / "dataset"


def write_table_files(table: Path, pixels: Sequence[tuple[int, int]], properties: Mapping[str, object]) -> None:
    """Write ``partition_info.csv``, and the property file under its two names (the standard's, and the older one)."""
    lines = ["Norder,Npix", *(f"{order},{pixel}" for order, pixel in pixels)]
    write_text(table / "partition_info.csv", "\n".join(lines) + "\n")
    for name in ("hats.properties", "properties"):
        write_properties(table / name, properties)


def write_collection(tables: Tables, properties: Mapping[str, object]) -> None:
    """Write ``collection.properties``, which names the catalogue and its margin."""
    members = {
        "obs_collection": tables.name,
        "hats_primary_table_url": tables.objects.name,
        "all_margins": tables.margins.name,
        "default_margin": tables.margins.name,
    }
    write_properties(tables.folder / "collection.properties", {**members, **properties})


def write_properties(path: Path, properties: Mapping[str, object]) -> None:
    """Write ``key=value`` lines, with spaces for line breaks and backslashes, which would end or alter a value."""
    lines = [f"{key}={_one_line(value)}" for key, value in properties.items()]
    write_text(path, "\n".join(lines) + "\n")


def _one_line(value: object) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return " ".join(text.replace("\\", " ").split())
