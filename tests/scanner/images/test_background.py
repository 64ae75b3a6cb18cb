"""The sky of a thinned image: level and noise of its rows, and where they are asked for."""

from __future__ import annotations

import numpy as np
import pytest
import sep

from scanner.images import background, background_mesh
from scanner.images.background import Background
from scanner.images.sections import MESH

SHAPE = (701, 643)


def sloping() -> tuple[np.ndarray, np.ndarray]:
    """An image whose level rises along x by 2 a thousand pixels, of noise 3, and its level."""
    level = np.broadcast_to(10 + 0.002 * np.arange(SHAPE[1], dtype=np.float32), SHAPE)
    return (level + np.random.default_rng(1).normal(0, 3, SHAPE)).astype(np.float32), level


def at_all(data: np.ndarray, step: int = 2) -> tuple[Background, np.ndarray, np.ndarray]:
    """The background of every ``step``-th pixel, and what it is at every pixel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background_mesh, "STEP", step)
        sky = Background.of(data)
    assert sky is not None
    y, x = np.indices(data.shape).reshape(2, -1).astype(float)
    level, noise = sky.at(x, y)
    return sky, level.reshape(data.shape), noise.reshape(data.shape)


def by_sep(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lost = np.isnan(data)
    found = sep.Background(np.where(lost, np.float32(0), data), mask=lost, bw=MESH, bh=MESH)
    return found.back(), found.rms()


@pytest.mark.parametrize("step", [1, 2])
def test_level_and_noise_are_found_at_positions(step: int) -> None:
    data, level = sloping()
    sky, found, noise = at_all(data, step)
    np.testing.assert_allclose(found, level, atol=0.5)
    np.testing.assert_allclose(noise, 3, rtol=0.1)
    assert sky.typical == pytest.approx(3, rel=0.05)


def test_it_is_sep_s_sky_where_there_are_objects() -> None:
    """A thousand of them; the difference is small beside an aperture's scatter. The noise is nearer to the truth."""
    data, random = sloping()[0], np.random.default_rng(2)
    for place in random.uniform(0, SHAPE, (1000, 2)):
        rows, columns = (slice(max(int(at) - 8, 0), int(at) + 9) for at in place)
        down, across = (np.arange(length)[part] for length, part in zip(SHAPE, (rows, columns), strict=True))
        distance = (down[:, None] - place[0]) ** 2 + (across - place[1]) ** 2
        data[rows, columns] += random.exponential(200) * np.exp(-distance / 8)
    (_, level, noise), (their_level, their_noise) = at_all(data, 1), by_sep(data)
    assert np.std(level - their_level) < 0.1 * 3
    assert abs(np.mean(level - their_level)) < 0.05 * 3
    assert 3 < np.mean(noise) < np.mean(their_noise)


def test_noise_is_never_negative_beside_a_gap_or_a_step() -> None:
    random = np.random.default_rng(3)
    data = random.normal(0, 1, (1024, 1024)).astype(np.float32)
    data[:, 512:] *= 100
    data[300:420, 200:900] = np.nan
    _, _, noise = at_all(data)
    assert 0.8 < noise.min() < 1.2
    assert 80 < noise.max() < 120


def test_cells_of_little_data_are_filled_from_their_neighbours() -> None:
    data, level = sloping()
    data[128:256, :600] = np.nan
    data[140, 7:19] = 1e4
    sky, found, noise = at_all(data)
    np.testing.assert_allclose(found, level, atol=1)
    np.testing.assert_allclose(noise, 3, rtol=0.15)
    assert sky.typical == pytest.approx(3, rel=0.05)


def test_an_image_smaller_than_a_cell_and_one_without_data() -> None:
    data = np.full((20, 30), np.nan, np.float32)
    assert Background.of(data) is None
    data[4:8, 4:8] = 7
    sky, level, noise = at_all(data)
    np.testing.assert_allclose(level, 7)
    assert (noise.max(), sky.typical) == (0, 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (3, 3), (129, 127)])
def test_images_of_any_shape(shape: tuple[int, int]) -> None:
    data = np.random.default_rng(4).normal(5, 2, shape).astype(np.float32)
    _, level, noise = at_all(data)
    assert np.all(np.abs(level - 5) < 6)
    assert np.all(noise >= 0)


@pytest.mark.parametrize(("sigma", "within"), [(0.5, 0.15), (1, 0.15), (4, 0.05)])
def test_rounded_pixels_have_the_noise_that_they_had(sigma: float, within: float) -> None:
    """As of integers, or a file that was compressed coarsely without dithering: to whole numbers."""
    _, level, noise = at_all(np.rint(np.random.default_rng(5).normal(0.2, sigma, SHAPE)).astype(np.float32))
    np.testing.assert_allclose(noise, sigma, rtol=within)
    np.testing.assert_allclose(level, 0.2, atol=0.2)


@pytest.mark.parametrize(("mean", "within"), [(2, 0.15), (50, 0.05)])
def test_counts_of_photons(mean: float, within: float) -> None:
    _, _, noise = at_all(np.random.default_rng(6).poisson(mean, SHAPE).astype(np.float32))
    np.testing.assert_allclose(noise, np.sqrt(mean), rtol=within)


@pytest.mark.parametrize("rows", [200, 500])
def test_an_area_filled_with_a_value_says_nothing_of_noise(rows: int) -> None:
    """In its cells, few or most of them, the noise is that of the nearest others."""
    data, _ = sloping()
    data[:rows] = 0
    sky, _, noise = at_all(data)
    assert sky.typical == pytest.approx(3, rel=0.05)
    np.testing.assert_allclose(noise, 3, rtol=0.2)


def test_many_positions_are_like_each_alone() -> None:
    sky, level, noise = at_all(sloping()[0])
    one = sky.at(np.array([77.0]), np.array([500.0]))
    np.testing.assert_array_equal(np.ravel(one), (level[500, 77], noise[500, 77]))


@pytest.mark.parametrize("edge", [500, 300])
def test_a_part_with_a_tenth_of_the_noise_of_the_rest_keeps_it(edge: int) -> None:
    data = np.random.default_rng(3).normal(0, 1, (1024, 1024)).astype(np.float32)
    data[:, edge:] *= 15
    _, _, noise = at_all(data)
    np.testing.assert_allclose(noise[:, : edge - 256], 1, rtol=0.2)
    np.testing.assert_allclose(noise[:, edge + 256 :], 15, rtol=0.2)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_rows_give_every_pixel_what_is_at_the_middle_of_its_block(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "BLOCK", step)
    data, _ = sloping()
    sky = Background.of(data)
    assert sky is not None
    levels, noises = np.full((2, *SHAPE), np.nan, np.float32)
    for rows, level, noise in sky.rows((slice(0, SHAPE[0]), slice(0, SHAPE[1]))):
        levels[rows], noises[rows] = level, noise
    y, x = (places.ravel() // step * step + (step - 1) / 2 for places in np.indices(SHAPE))
    for image, values in zip((levels, noises), sky.at(x, y), strict=True):
        np.testing.assert_allclose(image.ravel(), values, rtol=1e-5)
