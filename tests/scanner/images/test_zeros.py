"""An exact zero means in a compressed image what it means in the plain one, wherever compression keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from scanner.images.fits import is_rounded, open_fits
from scanner.images.tile_images import open_tile
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile
from tests.support import small_tiles

NAME, SIZE = "200.292", 64
ZEROS = [(5, 5), (20, 30), (20, 31), (40, 10), (41, 11)]
"""Pixels without data that stand alone or in pairs, in an image whose other values are far from 0."""

LOSSLESS = {
    "gzip 1": ("f4", {"compression_type": "GZIP_1", "quantize_level": 0}),
    "gzip 2": ("f4", {"compression_type": "GZIP_2", "quantize_level": 0}),
    "stored": ("f4", {"compression_type": "NOCOMPRESS", "quantize_level": 0}),
    "double": ("f8", {"compression_type": "GZIP_2", "quantize_level": 0}),
    "Rice, dither 2": ("f4", {"compression_type": "RICE_1", "quantize_method": 2, "dither_seed": 7}),
    "gzip, dither 2": ("f4", {"compression_type": "GZIP_1", "quantize_method": 2, "dither_seed": 7}),
    "Rice, integers": ("i2", {"compression_type": "RICE_1"}),
    "gzip, integers": ("i4", {"compression_type": "GZIP_2"}),
    "wavelets, integers": ("i4", {"compression_type": "HCOMPRESS_1", "tile_shape": (16, SIZE)}),
    "lists, integers": ("i4", {"compression_type": "PLIO_1"}),
}
ROUNDED = {
    "Rice, no dither": ("f4", {"compression_type": "RICE_1", "quantize_method": -1}),
    "Rice, dither 1": ("f4", {"compression_type": "RICE_1", "quantize_method": 1, "dither_seed": 7}),
    "wavelets with a scale": ("i4", {"compression_type": "HCOMPRESS_1", "tile_shape": (16, SIZE), "hcomp_scale": 30}),
}


def pixels(kind: str) -> NDArray[Any]:
    values = np.random.default_rng(0).normal(500, 10, (SIZE, SIZE))
    values = values if np.dtype(kind).kind == "f" else np.rint(values)
    for at in ZEROS:
        values[at] = 0
    values[50:60, 3:9] = 0
    return values.astype(kind)


def written(folder: Path, values: NDArray[Any], **compression: Any) -> Path:
    header = small_tiles.wcs(NAME, SIZE).to_header()
    hdu = fits.CompImageHDU(values, header, **compression) if compression else fits.PrimaryHDU(values, header)
    path = small_tiles.band_file(folder, NAME, "r").with_suffix(".fits.fz" if compression else ".fits")
    hdu.writeto(path)
    return path


def without_data(path: Path, unions: Survey) -> NDArray[np.bool_]:
    images = open_tile(unions, Tile(NAME, {"r": path}))
    return np.asarray(np.isnan(images.flux[unions.band_names.index("r")]))


@pytest.mark.parametrize("kind", LOSSLESS)
def test_zeros_of_a_compressed_image_are_those_of_the_plain_one(kind: str, tmp_path: Path, unions: Survey) -> None:
    number, compression = LOSSLESS[kind]
    values = pixels(number)
    plain = without_data(written(tmp_path, values), unions)
    np.testing.assert_array_equal(plain, values == 0)
    np.testing.assert_array_equal(without_data(written(tmp_path, values, **compression), unions), plain)


@pytest.mark.parametrize("kind", ROUNDED)
def test_of_a_rounded_image_only_blocks_of_zeros_are_gaps(kind: str, tmp_path: Path, unions: Survey) -> None:
    """Faint values may have become 0 there, and zeros other values."""
    number, compression = ROUNDED[kind]
    values = pixels(number)
    values[:30] -= np.array(500, number)  # so faint that many round to 0
    values[0, :] = np.arange(SIZE)
    path = written(tmp_path, values, **compression)
    with open_fits(path) as hdus:
        assert is_rounded(hdus[1])
        stored = np.asarray(hdus[1].data)
    gaps = without_data(path, unions)
    assert not gaps[:30].any()
    assert (stored[gaps] == 0).all()
    if kind == "Rice, no dither":
        assert gaps[50:60, 3:9].all()
        assert np.count_nonzero(stored[:30] == 0) > 10


def test_variances_and_masks_are_not_concerned(tmp_path: Path) -> None:
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels("i4")), fits.CompImageHDU(pixels("i4"))]).writeto(
        path := tmp_path / "planes.fits"
    )
    with open_fits(path) as hdus:
        assert [is_rounded(hdu) for hdu in hdus] == [False, False, False]
