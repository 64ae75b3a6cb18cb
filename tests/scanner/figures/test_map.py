"""Figures of a map: cutouts with their own pixels at the places of their objects, and the same bytes each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from astropy.table import Table
from matplotlib.figure import Figure

from catalogs.errors import ErrorCode, ScannerError
from scanner.figures.composite import compose_rgb
from scanner.figures.map import SCALES, Quantity, draw_cutouts, draw_quantities
from scanner.images.sky.wcs import Compass
from scanner.windows.by_position import Window
from scanner.windows.frame import WindowFrame

PLACES = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0]])
TABLE = Table(
    {"object_id": [1, 2, 3], "tile": ["a", "a", "b"], "ra": [1.0, 2, 3], "dec": [0.0, 0, 0], "snr": [9.0] * 3}
)


class Reader:
    """Windows of noise around a source whose flux is the right ascension; tile b cannot be read."""

    bands = tuple("ugriz")
    frame = WindowFrame(bands, 64, 0.18577)

    def windows(self, tiles: list[str], ra: list[float], dec: list[float]) -> list[Window | ScannerError]:
        missing = ScannerError(ErrorCode.TILE_MISSING_FILE, "No file.", "Look for it.")
        return [missing if tile == "b" else Window(self.flux(one), Compass((0, 1), (-1, 0)))
                for tile, one in zip(tiles, ra, strict=True)]  # fmt: skip

    @staticmethod
    def flux(ra: float) -> np.ndarray:
        flux = np.random.default_rng(int(ra)).normal(0, 1, (5, 64, 64)).astype(np.float32)
        flux[:, 30:34, 30:34] += 100 * ra
        return flux


def drawn(path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """Draw the map with cutouts; returns its axes."""
    figures = []
    keep = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: (figures.append(figure), keep(figure, *a, **k)))
    assert draw_cutouts(PLACES, TABLE, Reader(), "PCA", path, **options) == 2  # type: ignore[arg-type]
    return figures[0].axes[0]


def test_cutouts_of_a_map_are_those_of_a_gallery_with_a_bar_and_north(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = drawn(tmp_path / "map.png", monkeypatch, band_names=True)
    for image, ra, place in zip(axes.images, (1.0, 2.0), PLACES, strict=False):
        np.testing.assert_array_equal(image.get_array(), compose_rgb(Reader.flux(ra), Reader.bands))
        left, right, low, high = image.get_extent()
        assert left <= place[0] <= right
        assert low <= place[1] <= high
    (key,) = [text.get_text() for text in axes.texts]
    assert key.startswith("10\N{DOUBLE PRIME}; north is up, east is left; red, green, blue are i, r, g in 2")
    (bar,) = axes.lines
    side = np.subtract(*axes.images[0].get_extent()[1::-1])
    assert np.diff(bar.get_xdata())[0] == pytest.approx(side * 10 / (64 * 0.18577))


@pytest.mark.parametrize(("name", "start"), [("map.png", b"\x89PNG"), ("map.pdf", b"%PDF")])
def test_a_map_has_the_same_bytes_whatever_the_date_and_the_settings_of_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, start: bytes
) -> None:
    def draw(folder: Path) -> list[bytes]:
        folder.mkdir()
        draw_cutouts(PLACES, TABLE, Reader(), "PCA", folder / name)  # type: ignore[arg-type]
        draw_quantities(PLACES, [Quantity("magnitude", np.array([1.0, 2.0, np.nan]))], "PCA", folder / f"all-{name}")
        return [path.read_bytes() for path in sorted(folder.iterdir())]

    first = draw(tmp_path / "first")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    with matplotlib.rc_context({"font.size": 4, "savefig.facecolor": "red"}):
        assert draw(tmp_path / "second") == first
    assert all(written.startswith(start) for written in first)


@pytest.mark.parametrize("scale", SCALES)
def test_the_colours_of_a_map_are_in_order_in_greyscale(scale: str) -> None:
    red, green, blue, _ = matplotlib.colormaps[scale](np.linspace(0, 1, 64)).T
    steps = np.diff(0.299 * red + 0.587 * green + 0.114 * blue)
    assert (steps > 0).all() or (steps < 0).all()
