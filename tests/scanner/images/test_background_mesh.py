"""Level and noise in the cells of an image, beside the same written down plainly for the pixels of one cell."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.images import background_mesh as mesh
from scanner.images.background import WHITE, Background
from scanner.images.background_mesh import CLIP, Mesh
from scanner.images.sections import MESH

SHAPE = 700, 643
FIELDS = ("level", "noise", "share", "same")


def noise(seed: int = 1, level: float = 10, sigma: float = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(level, sigma, SHAPE).astype(np.float32)


def plainly(cell: np.ndarray) -> tuple[float, float]:
    """Mode and half width of all pixels of a cell, cut at 3 sigma until nothing changes."""
    pixels = np.sort(cell[~np.isnan(cell)].astype(np.float64))
    while True:
        sixth, median = np.quantile(pixels, (0.1587, 0.5))
        kept = pixels[np.abs(pixels - median) <= CLIP * (median - sixth)]
        if len(kept) == len(pixels):
            return 2.5 * median - 1.5 * pixels.mean(), median - sixth
        pixels = kept


def cells(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    starts = (range(0, length, MESH) for length in data.shape)
    rows, columns = (list(part) for part in starts)
    found = [[plainly(data[row : row + MESH, column : column + MESH]) for column in columns] for row in rows]
    level, width = np.moveaxis(np.array(found), 2, 0)
    return level, width


@pytest.mark.parametrize(("level", "sigma"), [(0, 1), (10, 3), (-1e5, 30), (1e-4, 1e-5), (3e7, 1e6)])
def test_each_cell_is_what_its_pixels_are_plainly(level: float, sigma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    data = noise(level=level, sigma=sigma)
    data[50:90, 200:330] += 300 * np.float32(sigma)
    data[400:431, :] = np.nan
    monkeypatch.setattr(mesh, "STEP", 1)
    found = Mesh.of(data)
    expected, width = cells(data)
    full = found.share > 0.5
    assert np.abs(found.level - expected)[full].max() < 0.01 * sigma
    np.testing.assert_allclose(found.noise[full], width[full], rtol=0.01)
    assert np.abs(found.level - expected).max() < 0.05 * sigma  # of a few hundred pixels
    np.testing.assert_allclose(found.noise, width, rtol=0.05)


def test_a_cell_without_data_is_unknown_and_shares_are_counted() -> None:
    data = noise()
    data[:MESH, MESH : 2 * MESH] = np.nan
    data[MESH : MESH + 64, :MESH] = np.nan
    found = Mesh.of(data)
    assert np.isnan([found.level[0, 1], found.noise[0, 1]]).all()
    assert found.share[0, 1] == 0
    assert found.share[1, 0] == 0.5
    assert found.share[0, 0] == 1
    assert found.share[-1, -1] == pytest.approx((700 % MESH) * (644 % MESH) / MESH**2, abs=0.01)


def test_a_cell_of_one_value_has_that_level_and_no_noise() -> None:
    data = noise()
    data[:MESH, :MESH] = 7.25
    found = Mesh.of(data)
    assert (found.level[0, 0], found.noise[0, 0], found.same[0, 0]) == (7.25, 0, 1)
    assert found.same[2:, 2:-1].max() < 0.01


def test_a_dead_comb_of_columns_does_not_hide_the_others() -> None:
    """What the first look at every fourth pixel sees is all lost."""
    data = noise()
    data[:, ::8] = np.nan
    found = Mesh.of(data)
    full = found.share > 0.5
    assert full.sum() == 25
    assert np.abs(found.level - 10)[full].max() < 0.5
    np.testing.assert_allclose(found.noise[full], 3, rtol=0.1)


@pytest.mark.parametrize("cut", [MESH, 3 * MESH])
def test_parts_of_whole_cells_are_joined_to_the_same_mesh(cut: int) -> None:
    """As strips are, so that rows do not depend on the memory there is."""
    data = noise()
    data[100:300, 50:170] = np.nan
    for of in (Mesh.of, Mesh.of_filtered):
        whole, parts = of(data), Mesh.join([of(data[:cut]), of(data[cut:])])
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_cells_do_not_depend_on_how_many_are_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = noise()
    data[100:300, 50:170] = np.nan
    whole = [of(data) for of in (Mesh.of, Mesh.of_filtered)]
    monkeypatch.setattr(mesh, "_CELLS_AT_ONCE", 2)
    monkeypatch.setattr(mesh, "_ROWS_AT_ONCE", 2)
    for of, expected in zip((Mesh.of, Mesh.of_filtered), whole, strict=True):
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(of(data), name), getattr(expected, name))


def test_pixels_without_a_variance_do_not_count() -> None:
    data, variance = noise(), np.ones(SHAPE, np.float32)
    data[:, 400:], variance[:, 400:] = 100 * data[:, 400:], np.nan
    data[:200], variance[:200] = -50, np.nan
    lost = np.where(np.isnan(variance), np.float32(np.nan), data)
    for of in (Mesh.of, Mesh.of_filtered):
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(of(data, variance), name), getattr(of(lost), name))


def test_huge_pixels_among_rounded_ones_does_not_hide_their_noise() -> None:
    data = np.rint(np.random.default_rng(3).normal(0.2, 0.5, (512, 512))).astype(np.float32)
    quiet = Mesh.of(data)
    data[::64, ::64] = 1e9
    np.testing.assert_allclose(Mesh.of(data).noise, quiet.noise, rtol=0.05)
    assert (quiet.noise > 0.1).all()


def test_the_detection_filter_leaves_more_of_correlated_noise() -> None:
    white = noise(sigma=1)
    padded = np.pad(white, 1, mode="wrap")
    smooth = sum(padded[1 + y : 701 + y, 1 + x : 644 + x] for y, x in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)))
    for data, expected in ((white, WHITE), (smooth, _filtered(smooth))):
        sky = Background.of(data)
        assert sky is not None
        assert sky.filtered == pytest.approx(expected, rel=0.02)
    assert _filtered(smooth) > 1.5 * WHITE


def _filtered(data: np.ndarray) -> float:
    """The standard deviation after the filter, pixel by pixel, over that before it."""
    lines = data[:-2] / 4 + data[1:-1] / 2 + data[2:] / 4
    after = lines[:, :-2] / 4 + lines[:, 1:-1] / 2 + lines[:, 2:] / 4
    return float(after.std() / data.std())


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (300, 2), (3, 3)])
def test_what_is_too_small_for_the_filter_is_taken_for_white(shape: tuple[int, int]) -> None:
    sky = Background.of(np.random.default_rng(2).normal(0, 1, shape).astype(np.float32))
    assert sky is not None
    assert sky.filtered > 0
    if min(shape) < 3:
        assert sky.filtered == WHITE
