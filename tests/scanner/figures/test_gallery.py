"""Galleries: every cutout in its place with its own pixels, and the same bytes for the same cutouts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from catalogs.errors import ScannerError
from scanner.figures.composite import NO_DATA, compose_rgb
from scanner.figures.gallery import PAD, TILE, Panel, draw_gallery, shorten
from scanner.images.sky.wcs import Compass
from scanner.windows.by_position import Window
from scanner.windows.frame import WindowFrame

FRAME = WindowFrame(tuple("ugriz"), 64, 0.18577)
NORTH_UP, NORTH_LEFT = Compass((0, 1), (-1, 0)), Compass((-1, 0), (0, -1))


def window(brightness: float = 300, compass: Compass | None = NORTH_UP) -> Window:
    """A red source in the upper left of noise."""
    flux = np.random.default_rng(1).normal(0, 1, (5, 64, 64)).astype(np.float32)
    y, x = np.mgrid[:64, :64]
    flux[3] += brightness * np.exp(-((x - 16) ** 2 + (y - 48) ** 2) / 20)  # FITS rows go up: y = 48 is near the top
    return Window(flux, compass)


def drawn(rows: list[list[Panel]], path: Path, monkeypatch: pytest.MonkeyPatch, **options: bool) -> Any:
    """Draw a gallery; returns its axes."""
    from matplotlib.figure import Figure

    figures = []
    keep = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: (figures.append(figure), keep(figure, *a, **k)))
    draw_gallery(rows, FRAME, path, **options)
    return figures[0].axes[0]


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


def test_a_gallery_wraps_its_rows_and_every_cutout_has_its_own_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels = [Panel(window(), ("query",), highlighted=True)]
    panels += [Panel(window(50 * n), (f"0.{n}", str(n))) for n in range(8)]
    panels.append(Panel(None, ("0.1",)))
    axes = drawn([panels], tmp_path / "out.png", monkeypatch)
    image = np.asarray(Image.open(tmp_path / "out.png").convert("RGB"))
    assert 8 * TILE < image.shape[1] < 9 * TILE
    assert 2 * TILE < image.shape[0] < 3 * TILE
    assert image[PAD, 2 * PAD].tolist() == [0xD5, 0x5E, 0x00]  # the frame of the query
    for picture, panel in zip(axes.images, panels, strict=False):
        assert panel.window is not None
        np.testing.assert_array_equal(picture.get_array(), compose_rgb(panel.window.flux, FRAME.bands))
    # The source is in the upper left of each cutout, and the panel without pixels is grey.
    second = image[PAD : PAD + TILE, 2 * PAD + 8 * 0 + TILE : 2 * PAD + 2 * TILE]
    assert second[30:50, 30:50].mean() > second[100:].mean()
    assert image[-TILE // 2, 2 * PAD + TILE + 5].tolist() == NO_DATA.tolist()


def test_bar_and_compass_stand_once_where_they_serve_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alike = [Panel(window(), ("a",)), Panel(None, ("b",)), Panel(window(), ("c",))]
    other = [Panel(window(compass=None), ("d",)), Panel(window(), ("e",)), Panel(window(compass=NORTH_LEFT), ("f",))]
    axes = drawn([alike, other], tmp_path / "out.png", monkeypatch)
    assert texts(axes).count("2\N{DOUBLE PRIME}") == 2  # one a row
    assert texts(axes).count("N") == 1 + 2
    axes = drawn([[Panel(window(compass=None), ("a",))]], tmp_path / "out.png", monkeypatch, band_names=True)
    assert texts(axes) == ["2\N{DOUBLE PRIME}", "i", "r", "g", "a"]


def test_a_gallery_has_the_same_bytes_whatever_the_date_and_the_settings_of_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels = [[Panel(window(), ("0.9", "12"), highlighted=True)]]
    for name, start in (("a.png", b"\x89PNG"), ("a.pdf", b"%PDF")):
        draw_gallery(panels, FRAME, tmp_path / name, band_names=True)
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")  # the date that matplotlib would write
        with matplotlib.rc_context({"font.size": 4, "savefig.facecolor": "red", "axes.linewidth": 9}):
            draw_gallery(panels, FRAME, tmp_path / f"again-{name}", band_names=True)
        written = (tmp_path / name).read_bytes()
        assert written == (tmp_path / f"again-{name}").read_bytes()
        assert written.startswith(start)
        assert not re.search(rb"D:20\d\d|atplotlib", written)


def test_a_caption_does_not_run_into_the_next_one() -> None:
    assert shorten("J054151.07+495814.9", 9) == "J054151.07+495814.9"
    cut = shorten("CFHTLS_109_8503_1936_o_gri, a group of galaxies", 7)
    assert cut.startswith("CFHTLS_109_8503")
    assert cut.endswith("…")
    assert shorten(cut, 7) == cut


def test_another_ending_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ScannerError) as refused:
        draw_gallery([[Panel(window(), ("a",))]], FRAME, tmp_path / "out.jpg")
    assert refused.value.code == "figure.unknown_format"
    assert not list(tmp_path.iterdir())
