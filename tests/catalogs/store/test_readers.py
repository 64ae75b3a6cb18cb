"""A tile file is read by the readers astronomers have, with its numbers, units and shape."""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import catalogs
from catalogs.store import vectors


@pytest.fixture
def tile(catalogue, write_tile, make_rows):
    write_tile(catalogue, "217.292", make_rows(217292, np.linspace(10, 10.4, 50), np.linspace(-5, -4.6, 50)))
    return catalogue.tile_path("217.292")


def test_pyarrow_reads_the_embedding_without_a_copy(tile):
    column = pq.read_table(tile)["embedding"]
    embedding = vectors.from_arrow(column)
    assert embedding.shape == (50, 16)
    assert embedding.dtype == np.float32
    assert embedding.base is not None
    assert embedding.ctypes.data == column.chunk(0).flatten().to_numpy().ctypes.data


def test_astropy_reads_it_with_units(tile):
    pytest.importorskip("pandas", reason="astropy reads Parquet only where pandas is installed")
    from astropy.table import Table

    for reader in ("parquet", "parquet.votable"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = Table.read(tile, format=reader)
        assert table["embedding"].shape == (50, 16)
        assert (table["ra"].unit, table["flux_u"].unit) == ("deg", "nJy")
        assert table["ra"].description == "Right ascension, ICRS"
        assert list(table["tile"][:2]) == ["217.292", "217.292"]


def test_the_votable_header_in_the_footer_is_a_valid_votable(tile):
    import io

    from astropy.io.votable import parse

    xml = pq.read_metadata(tile).metadata[b"IVOA.VOTable-Parquet.content"]
    xml = xml.replace(b'<PARQUET type="Parquet-local-XML"/>', b"")  # VOParquet's own tag, unknown to astropy's check
    fields = {field.name: field for field in parse(io.BytesIO(xml), verify="exception").iter_fields_and_params()}
    assert list(fields) == pq.read_schema(tile).names
    assert (fields["ra"].unit, fields["ra"].ucd) == ("deg", "pos.eq.ra;meta.main")
    assert fields["embedding"].arraysize == "16"


def test_the_embedding_is_byte_stream_split_zstd_without_dictionary(tile):
    group = pq.read_metadata(tile).row_group(0)
    column = next(
        group.column(number)
        for number in range(group.num_columns)
        if "embedding" in group.column(number).path_in_schema
    )
    assert "BYTE_STREAM_SPLIT" in column.encodings
    assert column.compression == "ZSTD"
    assert not column.has_dictionary_page
    assert not column.is_stats_set


def test_a_row_of_384_dimensions_takes_less_than_720_bytes(tmp_path, run, make_rows, write_tile):
    """On anisotropic, near low-rank vectors, as measured for the design (692 bytes)."""
    import dataclasses

    wide = dataclasses.replace(run, contract={"embedding_dim": 384})
    rng = np.random.default_rng(1)
    latent = rng.normal(size=(4000, 24)) @ rng.normal(size=(24, 384))
    embedding = latent + 0.3 * rng.normal(size=(4000, 384)) + 20 * rng.normal(size=384)
    rows = make_rows(1, np.linspace(0, 0.5, 4000), np.linspace(0, 0.5, 4000), embedding)
    catalogue = catalogs.create(tmp_path / "wide", wide)
    write_tile(catalogue, "1.1", rows, wide)
    group = pq.read_metadata(catalogue.tile_path("1.1")).row_group(0)
    assert group.column(group.num_columns - 1).total_compressed_size / 4000 < 720


@given(st.lists(st.floats(width=32), min_size=1, max_size=40))
@settings(deadline=None)
def test_rounding_is_to_the_nearest_even_ten_bit_mantissa(values):
    given_values = np.array(values, np.float32)
    rounded = vectors.round_mantissa(given_values)
    finite = np.isfinite(given_values)
    assert np.array_equal(rounded[~finite], given_values[~finite], equal_nan=True)
    assert not (rounded[finite].view(np.uint32) & 0x1FFF).any()
    assert np.array_equal(vectors.round_mantissa(rounded), rounded, equal_nan=True)
    as_half = given_values[finite & (np.abs(given_values) < 60000) & (np.abs(given_values) > 1e-4)]
    assert np.array_equal(vectors.round_mantissa(as_half), as_half.astype(np.float16).astype(np.float32))
