"""Marks of a cutout: the bar is as long as it says, and the compass points where the sky does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from scanner.figures.cutout import Marks, describe_compass, draw_cutout, same_north, scale_length
from scanner.images.sky.wcs import Compass


def turned(angle: float, mirrored: bool = False) -> Compass:
    """A compass with north ``angle`` degrees counterclockwise of up."""
    x, y = -math.sin(math.radians(angle)), math.cos(math.radians(angle))
    return Compass((x, y), (y, -x) if mirrored else (-y, x))


@pytest.mark.parametrize(
    ("side", "length"), [(11.9, 2), (12.5, 5), (25, 10), (64, 20), (0.9, 0.2), (2.5, 1), (3600, 1000)]
)
def test_a_scale_bar_is_a_round_length_that_fits(side: float, length: float) -> None:
    assert scale_length(side) == pytest.approx(length)


def test_a_bar_is_as_long_as_it_says_in_the_units_of_its_cutout() -> None:
    axes = Figure().add_subplot(xlim=(0, 100), ylim=(100, 0))
    picture = np.zeros((8, 8, 3), np.uint8)
    draw_cutout(axes, picture, (20, 60, 90, 50), Marks(arcsec=16.0))
    (bar,) = axes.lines
    (label,) = axes.texts
    left, right = bar.get_xdata()
    assert label.get_text() == "5\N{DOUBLE PRIME}"
    assert right - left == pytest.approx(40 * 5 / 16)
    assert 20 < left < right < 60
    assert 50 < bar.get_ydata()[0] < 90
    assert axes.images[0].get_array() is not None
    np.testing.assert_array_equal(axes.images[0].get_array(), picture)


@pytest.mark.parametrize("angle", range(0, 360, 45))
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_compass_points_north_and_stays_in_its_cutout(angle: int, mirrored: bool) -> None:
    axes = Figure().add_subplot(xlim=(0, 100), ylim=(0, 100))
    compass = turned(angle, mirrored)
    draw_cutout(axes, np.zeros((8, 8, 3), np.uint8), (0, 100, 0, 100), Marks(compass=compass))
    letters = {text.get_text(): np.array(text.get_position()) for text in axes.texts if text.get_text()}
    arrows = [text for text in axes.texts if not text.get_text()]
    for letter, arrow, direction in zip("NE", arrows, (compass.north, compass.east), strict=True):
        step = np.array(arrow.xy) - arrow.xyann
        np.testing.assert_allclose(step / np.linalg.norm(step), direction, atol=1e-9)
        assert (letters[letter] > 50).any()
        assert letters[letter].min() > 4
        assert letters[letter].max() < 96


def test_one_compass_serves_only_where_all_agree() -> None:
    up, near, other, mirrored = turned(0), turned(3), turned(40), turned(0, mirrored=True)
    assert same_north([up, near])
    assert same_north([None, None])
    for compasses in ([up, other], [up, mirrored], [None, up], [up, None]):
        assert not same_north(compasses)


def test_a_compass_in_words() -> None:
    assert describe_compass(turned(0.3)) == "north is up, east is left"
    assert describe_compass(turned(0, mirrored=True)) == "north is up, east is right"
    assert describe_compass(turned(-40)) == "north is 40\N{DEGREE SIGN} right of up, east to the left of it"


def test_names_of_bands_run_from_red_to_blue_and_one_band_is_named_once() -> None:
    for bands, names in (("irg", "irg"), ("rrr", "r"), ("rrg", "rrg")):
        axes = Figure().add_subplot(xlim=(0, 100), ylim=(0, 100))
        draw_cutout(axes, np.zeros((8, 8, 3), np.uint8), (0, 100, 0, 100), Marks(bands=bands))
        written = sorted(axes.texts, key=lambda text: text.get_position()[0])
        assert "".join(text.get_text() for text in written) == names
