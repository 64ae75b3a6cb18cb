"""Images that a test writes and opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits
from numpy.typing import NDArray

from scanner.images.tile_images import TileImages, open_tile
from scanner.survey import tile_list
from scanner.survey.survey import Survey
from tests.support.written_images import Opened, header


@pytest.fixture
def open_image(tmp_path: Path, unions: Survey) -> Opened:
    """Writes an image as the band of a tile and opens it: ``open_image(pixels, band, **cards)``."""

    def write(pixels: NDArray[Any], band: str = "r", hdu: type = fits.PrimaryHDU, **cards: Any) -> TileImages:
        name = {"r": "CFIS.217.292.r.fits", "i": "PSS.DR4.217.292.i.fits"}[band]
        hdus = [hdu(pixels, header(**cards))]
        if hdu is not fits.PrimaryHDU:
            hdus.insert(0, fits.PrimaryHDU())
        fits.HDUList(hdus).writeto(tmp_path / name, overwrite=True)
        return open_tile(unions, tile_list.find(unions, "217.292", tmp_path), [band])

    return write
