"""Pixels that are the asinh of counts, as Pan-STARRS writes them, become the counts that they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.errors import ScannerError
from scanner.images.strips import read_strips
from scanner.images.tile_images import OpenTile
from scanner.survey import tile_list
from scanner.survey.survey import Survey
from tests.support.written_images import Opened, counts, header

SOFTENING, OFFSET = 2.2, 0.31
ALPHA = 1.0857362047581294  # 2.5 log10 e


def asinh(linear: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(ALPHA * np.arcsinh((linear.astype(np.float64) - OFFSET) / (2 * SOFTENING)))


ASINH = {"BSOFTEN": SOFTENING, "BOFFSET": OFFSET}


def test_asinh_pixels_are_the_counts_that_they_were(open_image: Opened) -> None:
    right = open_image(counts(), "i").flux[0]
    np.testing.assert_allclose(
        open_image(asinh(counts()).astype(np.float32), "i", **ASINH).flux[0], right, rtol=3e-6, atol=1e-5
    )
    np.testing.assert_allclose(open_image(asinh(counts()), "i", **ASINH).flux[0], right, rtol=1e-6)


def test_asinh_in_the_integers_of_a_compressed_image(open_image: Opened) -> None:
    """As Pan-STARRS writes its stacks: 16 bits with a scale, a zero and a BLANK, compressed by Rice's code."""
    step, zero, blank = 2.4155e-4, 3.6325, 32767
    stored = np.round((asinh(counts()) - zero) / step)
    assert np.abs(stored).max() < blank
    stored[:6, :7] = blank
    right = open_image(counts(), "i").flux[0]
    right[:6, :7] = np.nan
    cards = {**ASINH, "BSCALE": step, "BZERO": zero, "BLANK": blank}
    # Half a step, times the derivative of the sinh.
    near = 10**0.56 * step * np.sqrt(SOFTENING**2 * 4 + counts().astype(np.float64) ** 2) / ALPHA
    for hdu in (fits.ImageHDU, fits.CompImageHDU):
        integers = hdu(stored.astype(np.int16), header())
        integers.header.update(cards)
        flux = open_image(stored.astype(np.int16), "i", lambda pixels, _, made=integers: made).flux[0]
        np.testing.assert_array_equal(np.isnan(flux), np.isnan(right))
        assert np.nanmax(np.abs(flux - right) / near) <= 1


@pytest.mark.parametrize("before", [True, False])
def test_gaps_of_asinh_images_are_blocks_of_zeros_before_or_after(open_image: Opened, before: bool) -> None:
    linear = counts()
    linear[10:20, 30:45] = 0
    stored = asinh(linear).astype(np.float32)
    if not before:
        stored[10:20, 30:45] = 0
    stored[60, 60] = 0  # alone: a pixel of OFFSET counts
    gaps = np.isnan(open_image(stored, "r", **ASINH).flux[0])
    assert gaps[10:20, 30:45].all()
    assert gaps.sum() == 150
    assert not np.isnan(open_image(stored, "i", **ASINH).flux).any()


def test_nan_and_fillers_of_asinh_images_are_no_data(open_image: Opened) -> None:
    stored = asinh(counts()).astype(np.float32)
    stored[0, :4] = np.nan, np.inf, -np.finfo(np.float32).max, 1e31
    gaps = np.isnan(open_image(stored, "i", **ASINH).flux[0])
    assert gaps[0, :4].all()
    assert gaps.sum() == 4


def test_strips_and_regions_of_asinh_images_are_parts_of_the_whole(
    open_image: Opened, tmp_path: Path, unions: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_image(asinh(counts()).astype(np.float32), "i", **ASINH).flux[0]
    tile = tile_list.find(unions, "217.292", tmp_path)
    region = slice(20, 61), slice(33, 80)
    read = OpenTile(unions, tile).read(region).flux[unions.band_names.index("i")]
    np.testing.assert_array_equal(read, whole[region])
    monkeypatch.setattr("scanner.images.sections.MESH", 16)
    monkeypatch.setattr("scanner.images.sections.SECTION", (32, 5000))
    i = unions.band_names.index("i")
    rows = [
        strip.flux[i][strip.strip.local((strip.strip.core, slice(None)))]
        for strip in read_strips(unions, tile, lambda _: 5)
    ]
    assert len(rows) > 1
    np.testing.assert_array_equal(np.concatenate(rows), whole)


@pytest.mark.parametrize(
    ("cards", "card"),
    [
        ({"BSOFTEN": 2.0}, "BOFFSET"),
        ({"BOFFSET": 0.3}, "BSOFTEN"),
        ({"BSOFTEN": 0.0, "BOFFSET": 0.3}, "BSOFTEN"),
        ({"BSOFTEN": "x", "BOFFSET": 0.3}, "BSOFTEN"),
    ],
)
def test_incomplete_cards_of_asinh_are_refused(open_image: Opened, cards: dict[str, Any], card: str) -> None:
    with pytest.raises(ScannerError, match=card) as caught:
        open_image(counts(), "i", **cards)
    assert caught.value.code == "tile.unknown_unit"


def test_linear_counts_with_the_cards_of_asinh_are_refused(open_image: Opened) -> None:
    with pytest.raises(ScannerError, match=r"PSS\.DR4\.217\.292\.i\.fits: BSOFTEN and BOFFSET .* but one is") as caught:
        open_image(counts(), "i", **ASINH)
    assert caught.value.code == "tile.unknown_unit"
