"""Tiles for the tests of the scanner: real ones, small ones cut from them, and small ones that are made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from catalogs.sky import unions_grid
from scanner.encoder.encoder import Encoder
from scanner.images.tile_images import TileImages, open_tile
from scanner.survey import survey, tile_list
from scanner.survey.survey import Survey
from tests.support import tiny_encoder

NAME = "113.280"
FILES = {"g": "calexp-CFIS_113_280.fits", "r": "CFIS.113.280.r.fits", "i": "PSS.DR4.113.280.i.fits"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encoder]:
    """A tiny one, on one thread."""
    path = tiny_encoder.write(tmp_path_factory.mktemp("model") / "encoder.onnx", tiny_encoder.contract())
    with Encoder(path, device="cpu", threads=1) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def unions() -> Survey:
    return survey.load("unions")


@pytest.fixture(scope="session")
def open_dev(tiles_dev: Path, unions: Survey) -> Callable[[str], TileImages]:
    """Opens a development tile, once a session."""
    opened: dict[str, TileImages] = {}

    def open_once(name: str) -> TileImages:
        if name not in opened:
            opened[name] = open_tile(unions, tile_list.find(unions, name, tiles_dev))
        return opened[name]

    return open_once


@pytest.fixture(scope="session")
def real_images(real_tile: Path, unions: Survey) -> TileImages:
    """The shipped tile, opened once a session."""
    return open_tile(unions, tile_list.find(unions, NAME, real_tile))


@pytest.fixture
def small_tile(real_tile: Path, tmp_path: Path) -> dict[str, Path]:
    """g, r and i files of 440 x 440 real pixels (one field of the shipped tile) in UNIONS names, to be spoilt."""
    paths = {}
    for band, name in FILES.items():
        with fits.open(real_tile / name) as hdus:
            for hdu in hdus:
                if hdu.data is not None:
                    cut = WCS(hdu.header)[16:456, 472:912].to_header()
                    hdu.data = hdu.data[16:456, 472:912]
                    for card in ("CRPIX1", "CRPIX2"):
                        hdu.header[card] = cut[card]
            paths[band] = tmp_path / name
            hdus.writeto(paths[band])
    return paths


@pytest.fixture
def made_tile(tmp_path: Path) -> Callable[..., Path]:
    """Writes a made-up r image: ``made_tile(counts, scale=0.18577, name=..., **cards)``."""

    def make(counts: np.ndarray, scale: float = 0.18577, name: str = "CFIS.217.292.r.fits", **cards: object) -> Path:
        path = tmp_path / name
        fits.PrimaryHDU(counts.astype(np.float32), header(counts.shape, scale, **cards)).writeto(path)
        return path

    return make


def header(shape: tuple[int, ...], scale: float, **cards: object) -> fits.Header:
    made = fits.Header()
    made["CTYPE1"], made["CTYPE2"], made["CUNIT1"], made["CUNIT2"] = "RA---TAN", "DEC--TAN", "deg", "deg"
    made["CRVAL1"], made["CRVAL2"] = unions_grid.centre("217.292")
    made["CRPIX1"], made["CRPIX2"] = shape[1] / 2 + 0.5, shape[0] / 2 + 0.5
    made["CD1_1"], made["CD1_2"], made["CD2_1"], made["CD2_2"] = -scale / 3600, 0.0, 0.0, scale / 3600
    for card, value in cards.items():
        made[card] = value
    return made
