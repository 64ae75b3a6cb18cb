"""Rows of a HATS collection near positions: of our own, and of one with other names of coordinates and of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalogs.errors import ErrorCode, ScannerError
from catalogs.hats.reader import HatsTable, is_hats
from catalogs.store.schema import healpix29


def write(folder: Path, ra: list[float], dec: list[float], order: int = 3, *, name: str = "gaia") -> Path:
    """Write a table as archives do: RAJ2000 and DEJ2000, a folder for each pixel, in a collection."""
    pixel = healpix29(np.array(ra), np.array(dec)) >> 2 * (29 - order)
    for one in np.unique(pixel).tolist():
        chosen = np.flatnonzero(pixel == one)
        path = folder / name / "dataset" / f"Norder={order}" / "Dir=0" / f"Npix={one}" / "part0.parquet"
        path.parent.mkdir(parents=True)
        columns = {"RAJ2000": np.array(ra)[chosen], "DEJ2000": np.array(dec)[chosen], "source": chosen}
        pq.write_table(pa.table(columns), path)
    told = f"obs_collection={name}\nhats_col_ra=RAJ2000\nhats_col_dec=DEJ2000\n"
    (folder / name / "hats.properties").write_text("# a comment\n" + told)
    (folder / "collection.properties").write_text(f"obs_collection={name}\nhats_primary_table_url={name}\n")
    return folder


def sources(table: HatsTable, ra: float, dec: float, radius: float) -> set[int]:
    parts = table.near([ra], [dec], radius, ["source"])
    return {int(one) for part in parts for one in part.column("source").to_pylist()}


def test_only_partitions_near_a_position_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 4000), np.degrees(np.arcsin(rng.uniform(-1, 1, 4000)))
    table = HatsTable.of(write(tmp_path, ra.tolist(), dec.tolist()))
    assert (table.name, table.ra, table.dec) == ("gaia", "RAJ2000", "DEJ2000")
    for x, y in zip(rng.uniform(0, 360, 30).tolist(), [90.0, -90.0, *rng.uniform(-90, 90, 28).tolist()], strict=True):
        found = sources(table, x, y, 2.0)
        here, there = np.radians([x, y]), np.radians([ra, dec])
        away = np.arccos(np.clip(np.sin(here[1]) * np.sin(there[1])
                                 + np.cos(here[1]) * np.cos(there[1]) * np.cos(here[0] - there[0]), -1, 1))  # fmt: skip
        assert set(np.flatnonzero(np.degrees(away) <= 2.0).tolist()) <= found
        assert len(found) < 1000


def test_positions_without_a_number_read_nothing(tmp_path: Path) -> None:
    table = HatsTable.of(write(tmp_path, [10.0], [5.0]))
    assert sources(table, float("nan"), 5.0, 1.0) == set()


def test_a_table_of_a_collection_can_be_given_itself(tmp_path: Path) -> None:
    write(tmp_path, [10.0], [5.0])
    assert is_hats(tmp_path)
    assert is_hats(tmp_path / "gaia")
    assert not is_hats(tmp_path / "gaia" / "dataset")
    assert sources(HatsTable.of(tmp_path / "gaia"), 10.0, 5.0, 0.001) == {0}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("collection.properties", "hats_primary_table_url=../elsewhere\n"),
        ("collection.properties", "hats_primary_table_url=https://host/gaia\n"),
        ("collection.properties", "obs_collection=gaia\n"),
        ("gaia/hats.properties", "hats_col_ra=RAJ2000\n"),
        ("gaia/hats.properties", "hats_col_ra=ra\nhats_col_dec=dec\n"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, file: str, text: str) -> None:
    write(tmp_path, [10.0], [5.0])
    (tmp_path / file).write_text(text)
    with pytest.raises(ScannerError) as error:
        HatsTable.of(tmp_path)
    assert error.value.code == ErrorCode.HATS_UNREADABLE


def test_a_damaged_partition_is_named(tmp_path: Path) -> None:
    table = HatsTable.of(write(tmp_path, [10.0], [5.0]))
    (path,) = tmp_path.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ScannerError, match="Npix"):
        sources(table, 10.0, 5.0, 0.001)
