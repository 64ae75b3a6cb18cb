"""A published catalogue: every object once, in its pixel, with margin, units and vectors; whole or not there."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from astropy_healpix import HEALPix
from hypothesis import given, settings
from hypothesis import strategies as st

import catalogs
from catalogs import hats
from catalogs.hats import partitions
from catalogs.hats.partitions import Partition
from catalogs.sky import geometry, unions_grid
from catalogs.store import vectors
from catalogs.store.schema import healpix29
from tests.catalogs.hats.conftest import MARGIN, SMALL, read_tables
from tests.support.damage import damage_column


def test_every_primary_object_is_published_once_with_all_its_values(catalogue, collection) -> None:
    published = pa.concat_tables(read_tables(collection / "unions").values())
    expected = catalogue.table([*catalogue.schema.names], where="is_primary")
    assert len(published) == len(expected) > 1500
    published = published.take(np.argsort(published["object_id"].to_numpy()))
    expected.sort("object_id")
    for name in catalogue.schema.names:
        if name == "embedding":
            assert np.array_equal(vectors.from_arrow(published[name]), expected[name])
        else:
            assert np.array_equal(published[name].to_numpy().astype(expected[name].dtype), expected[name]), name
    assert published.schema.equals(catalogue.schema)
    assert published.schema.field("ra").metadata == catalogue.schema.field("ra").metadata


def test_copies_in_overlaps_are_left_out_unless_all_rows_are_asked_for(catalogue, tmp_path) -> None:
    once, whole = catalogue.table(["ra", "dec"], where="is_primary"), catalogue.table(["ra", "dec"])
    assert len(np.unique(whole.as_array())) == len(np.unique(once.as_array())) == len(once)
    made = hats.publish(catalogue, tmp_path / "all", dataclasses.replace(SMALL, all_rows=True))
    assert made.rows == len(whole) > len(once)
    bright = hats.publish(catalogue, tmp_path / "bright", dataclasses.replace(SMALL, where="mag_r < 10 or mag_r > 29"))
    assert bright.rows == len(catalogue.table(where="(mag_r < 10 or mag_r > 29) and is_primary"))


def test_partitions_hold_their_pixel_in_the_order_of_the_sky(collection) -> None:
    pixels = read_tables(collection / "unions")
    assert len(pixels) > 5
    assert len({order for order, _ in pixels}) > 1
    for (order, pixel), table in pixels.items():
        index = table["_healpix_29"].to_numpy()
        assert (index >> 2 * (29 - order) == pixel).all()
        assert (np.diff(index) >= 0).all()
        assert len(table) <= SMALL.rows_per_file
    listed = np.loadtxt(collection / "unions" / "partition_info.csv", delimiter=",", skiprows=1, dtype=int)
    assert {tuple(row) for row in listed} == set(pixels)


def test_the_margin_of_a_pixel_has_all_that_lies_near_it_and_nothing_in_it(collection) -> None:
    pixels, margins = read_tables(collection / "unions"), read_tables(collection / "unions_10arcs")
    everything = pa.concat_tables(pixels.values())
    ra, dec, index = (everything[name].to_numpy() for name in ("ra", "dec", "_healpix_29"))
    assert sum(len(table) for table in margins.values()) > 50
    near_somewhere = 0
    for order, pixel in pixels:
        inside = index >> 2 * (29 - order) == pixel
        lon, lat = HEALPix(2**order, "nested").boundaries_lonlat([pixel], step=2**16 >> order)
        edge = geometry.directions(lon.deg.ravel(), lat.deg.ravel())
        outside = np.flatnonzero(~inside)
        cosine = (geometry.directions(ra[outside], dec[outside]) @ edge.T).max(axis=1)
        away = np.degrees(np.arccos(np.minimum(cosine, 1))) * 3600
        margin = margins.get((order, pixel))
        ids = set() if margin is None else set(margin["object_id"].to_pylist())
        near = set(everything["object_id"].to_numpy()[outside[away <= MARGIN]].tolist())
        assert near <= ids
        assert not ids & set(everything["object_id"].to_numpy()[inside].tolist())
        assert ids <= set(everything["object_id"].to_numpy()[outside[away <= 90]].tolist())
        near_somewhere += len(near)
    assert near_somewhere > 5


SPECIAL = [(45.0, 41.8103), (0.0, 90.0), (0.0, 0.0), (45.0, 0.0), (22.5, 41.8103), (0.0, 41.8103), (180.0, -89.9)]


@pytest.mark.parametrize(("ra0", "dec0"), SPECIAL)
def test_margins_hold_at_the_odd_places_of_the_sphere(ra0: float, dec0: float) -> None:
    """Where three base pixels meet, at a pole, across base pixels: every pair within the margin is covered."""
    rng = np.random.default_rng(5)
    ra = (ra0 + rng.normal(0, 0.01, 1500) / max(np.cos(np.radians(dec0)), 0.01)) % 360
    dec = np.clip(dec0 + rng.normal(0, 0.01, 1500), -90, 90)
    index = healpix29(ra, dec)
    rows = np.bincount(index >> 2 * (29 - partitions.LEAF), minlength=12 << 2 * partitions.LEAF).astype(np.int32)
    pieces = partitions.split(rows, 200)
    margins = partitions.Margins(pieces, partitions.margin_order(MARGIN))
    own = np.searchsorted([piece.start for piece in pieces], index, side="right") - 1
    covered = set()
    for number in range(len(pieces)):
        here = np.flatnonzero(own == number)
        for other, chosen in margins.beyond(number, index[here]):
            covered |= {(int(row), other) for row in here[chosen]}
    pairs = geometry.close_pairs(ra, dec, MARGIN / 3600)
    across = [(i, j) for i, j in pairs if own[i] != own[j]]
    assert len(across) > 20
    for i, j in across:
        assert (i, own[j]) in covered
        assert (j, own[i]) in covered


@given(
    st.lists(st.tuples(st.integers(0, 12 * 4**10 - 1), st.integers(1, 500)), min_size=1, max_size=60),
    st.integers(1, 900),
)
@settings(deadline=None, max_examples=30)
def test_partitions_share_the_rows_out(leaves: list[tuple[int, int]], limit: int) -> None:
    rows = np.zeros(12 << 2 * partitions.LEAF, np.int32)
    for pixel, count in leaves:
        rows[pixel] = count
    pieces = partitions.split(rows, limit)
    assert sum(piece.rows for piece in pieces) == rows.sum()
    for piece, following in itertools.pairwise(pieces):
        assert piece.stop <= following.start
    for piece in pieces:
        shift = 2 * (partitions.LEAF - piece.order)
        assert rows[piece.pixel << shift : (piece.pixel + 1) << shift].sum() == piece.rows
        assert piece.rows <= limit or piece.order == partitions.LEAF


def test_vectors_are_stored_as_in_the_tiles(collection) -> None:
    for path in (collection / "unions" / "dataset").rglob("*.parquet"):
        group = pq.read_metadata(path).row_group(0)
        columns = [group.column(number) for number in range(group.num_columns)]
        embedding = next(column for column in columns if column.path_in_schema.startswith("embedding"))
        assert "BYTE_STREAM_SPLIT" in embedding.encodings
        assert embedding.compression == "ZSTD"
        assert not embedding.has_dictionary_page
        assert pq.read_schema(path).field("embedding").type == pa.list_(pa.field("element", pa.float32(), False), 16)


def test_units_and_ucds_are_in_every_file_and_in_the_common_metadata(collection) -> None:
    pytest.importorskip("pandas", reason="astropy reads Parquet only where pandas is installed")
    path = next((collection / "unions" / "dataset").rglob("*.parquet"))
    table = Table.read(path, format="parquet.votable")
    assert (table["ra"].unit, table["flux_r"].unit, table["mag_auto"].unit) == ("deg", "nJy", "mag")
    for name in ("_common_metadata", "_metadata"):
        footer = pq.read_metadata(collection / "unions" / "dataset" / name)
        assert b'ucd="pos.eq.ra;meta.main"' in footer.metadata[b"IVOA.VOTable-Parquet.content"]
    assert json.loads(pq.read_metadata(path).metadata[b"scanner.catalogue"])["model_sha256"] == "a" * 64


def test_no_name_of_this_machine_is_in_the_collection(catalogue, collection) -> None:
    for path in collection.rglob("*"):
        if path.is_file():
            assert str(catalogue.path.parent).encode() not in path.read_bytes(), path


def test_hats_finds_the_collection_valid_by_its_strict_rules(collection, caplog) -> None:
    validation = pytest.importorskip("hats.io.validation", reason="hats is not installed")
    assert validation.is_valid_collection(collection, strict=True)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == []
    from hats import read_hats

    found = read_hats(collection)
    assert found.main_catalog.catalog_info.total_rows == len(parquet_rows(collection / "unions"))
    assert "embedding" not in found.main_catalog.catalog_info.default_columns
    assert found.main_catalog.has_healpix_column()
    assert found.get_margin_thresholds() == {"unions_10arcs": MARGIN}


def parquet_rows(table: Path) -> pa.Table:
    return pa.concat_tables(read_tables(table).values())


@pytest.mark.filterwarnings("ignore")
def test_lsdb_opens_searches_and_cross_matches(catalogue, collection) -> None:
    lsdb = pytest.importorskip("lsdb", reason="LSDB is not installed")
    opened = lsdb.open_catalog(str(collection))
    assert "embedding" not in opened.columns
    everything = lsdb.open_catalog(str(collection), columns="all").compute()
    expected = catalogue.table(["object_id", "embedding"], where="is_primary")
    row = everything[everything["object_id"] == expected["object_id"][7]].iloc[0]
    assert np.array_equal(np.asarray(row["embedding"], np.float32), expected["embedding"][7])

    ra, dec = unions_grid.centre("000.292")
    cone = opened.cone_search(ra, dec, 1200).compute()
    here = catalogue.cone(ra, dec, 1200, columns=["object_id"], where="is_primary")
    assert sorted(cone["object_id"]) == sorted(here["object_id"])
    assert len(cone) > 100

    asked = everything[["ra", "dec", "object_id"]].reset_index(drop=True).astype({"ra": float, "dec": float})
    asked["dec"] += 3.0 / 3600  # some of them into another pixel: the margin is needed
    mine = lsdb.from_dataframe(asked, ra_column="ra", dec_column="dec", margin_threshold=None)
    suffixes = {"suffixes": ("", "_found"), "suffix_method": "overlapping_columns"}
    matched = mine.crossmatch(opened, radius_arcsec=5, **suffixes).compute()
    assert len(matched) == len(everything)
    assert np.mean(matched["object_id"] == matched["object_id_found"]) > 0.98  # a few have a nearer neighbour


def test_pages_have_checksums(collection) -> None:
    """A flipped bit is an error for any reader that verifies them, not another number."""
    path = max((collection / "unions" / "dataset").rglob("Npix=*.parquet"), key=lambda file: file.stat().st_size)
    sound = path.read_bytes()
    try:
        damage_column(path, "mag_r")
        with pytest.raises(OSError, match="CRC checksum"):
            pq.read_table(path, page_checksum_verification=True, partitioning=None)
    finally:
        path.write_bytes(sound)


def test_a_catalogue_of_one_small_tile_is_one_small_pixel_with_an_empty_margin(
    tmp_path, on_grid, make_rows, write_tile
) -> None:
    catalogue = catalogs.create(tmp_path / "embeddings", on_grid)
    ra, dec = unions_grid.centre("100.180")
    rows = make_rows(100180, ra + np.linspace(0.01, 0.02, 40), dec + np.linspace(0.01, 0.02, 40))
    write_tile(catalogue, "100.180", rows, on_grid)
    made = hats.publish(catalogue, tmp_path / "out", hats.Options("one"))
    assert (made.rows, made.partitions, made.margin_rows) == (40, 1, 0)
    assert [order for order, _ in read_tables(tmp_path / "out" / "one")] == [partitions.SINGLE]
    if validation := pytest.importorskip("hats.io.validation", reason="hats is not installed"):
        assert validation.is_valid_collection(tmp_path / "out", strict=True)


def test_a_partition_knows_its_pixels() -> None:
    piece = Partition(3, 5, 10)
    assert (piece.start >> 52, (piece.stop - 1) >> 52, piece.stop >> 52) == (5, 5, 6)
