"""Cutouts in the tile's own pixels: none is changed, and their WCS is the tile's, whatever its projection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from scanner.candidates.pictures import write_cutout
from scanner.images.sky.wcs import read_wcs
from scanner.survey.survey import load
from scanner.windows.by_position import WindowReader
from scanner.windows.frame import WindowFrame
from scanner.windows.native import crop, local_wcs
from tests.support import small_tiles

NAME = "217.292"
MAS = 1 / 3.6e6


def header(**cards: object) -> fits.Header:
    made = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 210.0, "CRVAL2": 54.0, "CRPIX1": 5000.0,
                        "CRPIX2": 5000.0, "CD1_1": -5e-5, "CD1_2": 1e-5, "CD2_1": 1e-5, "CD2_2": 5e-5})  # fmt: skip
    made.update(cards)
    return made


@pytest.mark.parametrize(
    "cards",
    [
        {},
        {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 54.0, "CRVAL2": 210.0},
        {"RADESYS": "FK5", "EQUINOX": 1975.0},
        {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CRVAL2": -89.9},
        {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_0": 0.0, "PV1_1": 1.0, "PV1_2": 0.0, "PV1_4": 0.004,
         "PV2_0": 0.0, "PV2_1": 1.0, "PV2_2": 0.0, "PV2_4": 0.003},
    ],
)  # fmt: skip
def test_the_wcs_of_a_cutout_is_that_of_the_image(cards: dict[str, object]) -> None:
    """Axes in any order, frames, poles and distortions: within a milliarcsecond over the cutout."""
    wcs, side = read_wcs(header(**cards), (10000, 10000), Path("image.fits")), 65
    local = WCS(local_wcs(wcs, 8000, 1500, side))
    x, y = np.meshgrid([0.0, 32.0, 64.0], [0.0, 32.0, 64.0])
    ra, dec = local.all_pix2world(x, y, 0)
    true_ra, true_dec = wcs.pixels_to_sky(x + 8000 - 32, y + 1500 - 32)
    assert np.abs(dec - true_dec).max() < MAS
    assert (np.abs((ra - true_ra + 180) % 360 - 180) * np.cos(np.radians(true_dec))).max() < MAS


def test_a_crop_beyond_the_image_has_no_data_there() -> None:
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    out = crop(image, (slice(-1, 2), slice(2, 6)))
    assert np.isnan(out[0]).all()
    assert np.isnan(out[:, 2:]).all()
    assert out[1:, :2].tolist() == [[2, 3], [6, 7]]
    assert np.isnan(crop(image, (slice(10, 12), slice(0, 2)))).all()


def test_a_cutout_file_has_the_pixels_of_each_band_at_their_places(tmp_path: Path) -> None:
    folder = small_tiles.write(tmp_path / "tiles", NAME, size=120, bands="gri")
    projection = small_tiles.wcs(NAME, 120)
    ra, dec = (float(axis) for axis in projection.all_pix2world(60.3, 59.8, 0))
    row = {"name": "UNIONS J1+1", "tile": NAME, "ra": ra, "dec": dec}
    reader = WindowReader(load("unions"), WindowFrame(("g", "r", "i"), 32, 0.18577), folder)
    assert write_cutout(tmp_path / "out.fits", row, reader, 6.0)
    with fits.open(tmp_path / "out.fits", checksum=True) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["G", "R", "I"]
        for hdu in hdus[1:]:
            x, y = WCS(hdu.header).all_world2pix(ra, dec, 0)
            assert max(abs(x - 16), abs(y - 16)) <= 0.51
            assert hdu.header["BUNIT"] == "nJy"
        source = next(folder.glob("CFIS*.r.fits"))
        counts = fits.getdata(source)
        flux = counts[60 - 16 : 60 + 17, 60 - 16 : 60 + 17] * 10 ** (-0.4 * (30.0 - 31.4))
        assert np.allclose(hdus["R"].data, flux, rtol=1e-6)
