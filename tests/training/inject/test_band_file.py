"""Light in one band: at its place between pixels, and in every form in which a file may hold its pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from catalogs.errors import ScannerError
from scanner.images.sky.wcs import flat_wcs
from scanner.survey.survey import load
from training.inject.band_file import write_band
from training.inject.light import Light, Stamp, shifted

SIDE = 21


def gaussian(x: float, y: float, sigma: float = 1.6) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.exp(-0.5 * ((columns - x) ** 2 + (rows - y) ** 2) / sigma**2) * 1000


@pytest.mark.parametrize(("dx", "dy"), [(0.672, 0.0), (-0.31, 0.45), (0.999, -0.999)])
def test_a_shift_keeps_flux_and_moves_the_centroid(dx: float, dy: float) -> None:
    middle = SIDE // 2
    stamp = gaussian(middle, middle)
    moved = shifted(stamp, dx, dy)
    rows, columns = np.indices(moved.shape)
    assert moved.sum() == pytest.approx(stamp.sum(), rel=1e-6)
    assert (moved * columns).sum() / moved.sum() - len(moved) // 2 == pytest.approx(dx, abs=1e-3)
    assert (moved * rows).sum() / moved.sum() - len(moved) // 2 == pytest.approx(dy, abs=1e-3)


def test_a_stamp_lies_where_its_band_shows_the_host() -> None:
    # Drawn for (40.3, 50.8) in one band, where another band has 39.628 and 51.4.
    stamp = Stamp.at(39.628, 51.4, gaussian(10.3, 9.8), (40.3, 50.8))
    total = Light([stamp], np.zeros((100, 90), np.float32)).rows(0, 100)
    assert total is not None
    rows, columns = np.indices(total.shape)
    assert (total * columns).sum() / total.sum() == pytest.approx(39.628, abs=1e-3)
    assert (total * rows).sum() / total.sum() == pytest.approx(51.4, abs=1e-3)


PACKED = {
    "dithered": {"compression_type": "RICE_1", "quantize_level": 4, "quantize_method": 2, "dither_seed": 3},
    "rounded": {"compression_type": "GZIP_1", "quantize_level": 4, "quantize_method": -1},
    "exact": {"compression_type": "GZIP_2", "quantize_level": 0},
    "whole": {"compression_type": "RICE_1"},
    "blocks": {"compression_type": "RICE_1", "quantize_level": 4, "tile_shape": (30, 50)},
}


@pytest.mark.parametrize("form", PACKED)
def test_a_compressed_image_changes_where_light_is(form: str, tmp_path: Path) -> None:
    band = replace(load("unions").band("r"), zero_point=31.4)
    rng, path = np.random.default_rng(0), tmp_path / "CFIS.200.292.r.fits.fz"
    pixels = rng.normal(0, 8, (120, 100)) + 100
    pixels[5:12, 5:90], pixels[40] = 0, 0
    pixels = pixels.astype(np.int16 if form == "whole" else np.float32)
    header = flat_wcs(pixels.shape, 0.18577).to_header()
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels, header, **PACKED[form])]).writeto(path, checksum=True)

    def read(path: Path) -> np.ndarray:
        with fits.open(path, checksum=True, disable_image_compression=True) as hdus:
            assert hdus[1].verify_checksum() == hdus[1].verify_datasum() == 1
        with fits.open(path) as hdus:
            return hdus[1].data.astype(float)

    # Faint light, of a tenth of the step on average, keeps its flux.
    faint = np.full((41, 41), 0.2, np.float32)
    stamps = [Stamp(30, 20, gaussian(10, 10).astype(np.float32) / 10), Stamp(70, 40, faint)]
    flux = np.where(pixels == 0, np.nan, pixels).astype(np.float32)
    light = Light(stamps, flux)
    (written,) = write_band(band, path, tmp_path / "out", light, 4.0, lenses=2, seed=1)
    before, after, expected = read(path), read(written), light.rows(0, 120)
    assert expected is not None
    np.testing.assert_array_equal(before[expected == 0], after[expected == 0])
    step = {"exact": 1e-4, "whole": 1.0}.get(form, 8 / 4 * 1.5)
    assert np.abs(after - before - expected).max() <= step
    assert (after - before)[70:111].sum() == pytest.approx(expected[70:111].sum(), abs=3 * step * 41 / 2 + 1)
    assert written.stat().st_size < 1.3 * path.stat().st_size + 2880


def test_a_file_compressed_as_a_whole_is_compressed_again(tmp_path: Path) -> None:
    path, pixels = tmp_path / "CFIS.200.292.r.fits.bz2", np.full((70, 33), 100.0)
    hdu = fits.PrimaryHDU(pixels, flat_wcs(pixels.shape, 0.18577).to_header())
    hdu.header["BLANKS"] = "kept"
    hdu.writeto(path, checksum=True)
    light = Light([Stamp(60, 30, np.full((20, 20), 5.0, np.float32))], pixels.astype(np.float32))
    band = replace(load("unions").band("r"), zero_point=31.4)
    (written,) = write_band(band, path, tmp_path / "out", light, 4.0, lenses=1, seed=1)
    assert written.read_bytes().startswith(b"BZh")
    with fits.open(written, checksum=True) as hdus:
        assert hdus[0].verify_checksum() == hdus[0].verify_datasum() == 1
        pixels[60:, 30:] += 5
        np.testing.assert_array_equal(hdus[0].data, pixels)


def test_a_compression_that_is_not_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "CFIS.200.292.r.fits.fz"
    pixels = np.random.default_rng(0).normal(100, 8, (64, 64)).astype(np.float32)
    header = flat_wcs(pixels.shape, 0.18577).to_header()
    packed = fits.CompImageHDU(pixels, header, compression_type="HCOMPRESS_1", tile_shape=(32, 64), quantize_level=4)
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
    light = Light([Stamp(20, 20, np.ones((9, 9), np.float32))], pixels)
    with pytest.raises(ScannerError, match=r"CFIS.200.292.r.fits.fz: .* HCOMPRESS_1") as error:
        write_band(load("unions").band("r"), path, tmp_path / "out", light, 4.0, lenses=1, seed=1)
    assert error.value.code == "inject.compression"
    assert not list((tmp_path / "out").iterdir())
