"""The sky of a thinned image: level and noise where they are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.sky import Sky

SHAPE = (701, 643)


def sloping() -> tuple[np.ndarray, np.ndarray]:
    """An image whose level rises along x by 2 a thousand pixels, of noise 3, and its level."""
    level = np.broadcast_to(10 + 0.002 * np.arange(SHAPE[1], dtype=np.float32), SHAPE)
    return (level + np.random.default_rng(1).normal(0, 3, SHAPE)).astype(np.float32), level


@pytest.mark.parametrize("step", [1, 2, 3])
def test_level_and_noise_are_found_at_positions(step: int) -> None:
    data, level = sloping()
    sky = Sky.of(data, np.zeros(SHAPE, bool), step)
    assert sky is not None
    y, x = np.indices(SHAPE).reshape(2, -1).astype(float)
    found, noise = sky.at(x, y)
    np.testing.assert_allclose(found, level.ravel(), atol=0.5)
    np.testing.assert_allclose(noise, 3, rtol=0.1)
    assert sky.typical == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_rows_give_every_pixel_what_its_position_gives(step: int) -> None:
    data, _ = sloping()
    sky = Sky.of(data, np.zeros(SHAPE, bool), step)
    assert sky is not None
    levels, noises = np.full((2, *SHAPE), np.nan, np.float32)
    for rows, level, noise in sky.rows(SHAPE[1]):
        levels[rows], noises[rows] = level, noise
    y, x = np.indices(SHAPE).reshape(2, -1).astype(float)
    for image, values in zip((levels, noises), sky.at(x, y), strict=True):
        np.testing.assert_array_equal(image.ravel(), values)


def test_lost_pixels_do_not_count_and_without_others_there_is_no_sky() -> None:
    data, _ = sloping()
    lost = np.zeros(SHAPE, bool)
    lost[100:300, 200:400] = True
    for value in (np.float32(1e6), np.float32(np.nan)):
        sky = Sky.of(np.where(lost, value, data), lost, 2)
        assert sky is not None
        assert sky.typical == pytest.approx(3, rel=0.05)
    assert Sky.of(data, np.ones(SHAPE, bool), 2) is None
