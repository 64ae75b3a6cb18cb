"""Tiles for the tests of the scanner: real ones, small ones cut from them, and small ones that are made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scanner.encoder.encoder import Encoder
from scanner.images.tile_images import TileImages, open_tile
from scanner.survey import survey, tile_list
from scanner.survey.survey import Survey
from tests.support import tiny_encoder

NAME = "113.280"


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
