"""The pictures of the default scheme are cutouts of the shipped tile, drawn as every figure is."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from scanner.hunt.scheme import DEFAULT, read_scheme

# Three lenses of the tile's truth.csv, and a spiral.
PLACES = {
    "A": (194.0567371, 56.0333167),
    "B": (193.9658801, 55.9803135),
    "C": (194.0389882, 55.9933115),
    "X": (194.0091001, 55.9654221),
}


def pixels(file: Path | io.BytesIO) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("name", list(PLACES))
def test_a_grade_has_a_picture_of_today(client: TestClient, name: str) -> None:
    grade = next(one for one in read_scheme(DEFAULT).grades if one.name == name)
    ra, dec = PLACES[name]
    drawn = client.get(f"/cutouts/picture?ra={ra}&dec={dec}&tile=217.292")
    assert np.array_equal(pixels(DEFAULT.parent / grade.picture), pixels(io.BytesIO(drawn.content)))


def test_every_grade_has_one() -> None:
    assert {one.name for one in read_scheme(DEFAULT).grades} == set(PLACES)
