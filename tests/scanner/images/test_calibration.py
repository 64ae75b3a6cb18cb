"""Counts become nanojansky, and what is no flux becomes NaN."""

from __future__ import annotations

import numpy as np
import pytest

from scanner.images import calibration
from scanner.images.calibration import HUGE, calibrate, scale
from scanner.images.sky.wcs import FLAT_CENTRE, flat_wcs


@pytest.mark.parametrize("kind", [">f4", "<f8", "<i4", "<i2"])
def test_a_magnitude_of_the_zero_point_is_one_count(kind: str) -> None:
    counts = np.array([[1, 2], [100, -3]], kind)
    flux = calibrate(counts, 30.0, zero_is_missing=False)
    assert flux.dtype == np.float32
    np.testing.assert_allclose(flux, counts * 10**0.56, rtol=1e-6)
    np.testing.assert_allclose(31.4 - 2.5 * np.log10(flux[0, 0]), 30.0, atol=1e-6)


def test_gaps_and_fillers_are_nan_and_zeros_where_the_survey_says_so() -> None:
    counts = np.array([0, 1, np.nan, np.inf, -np.finfo(np.float32).max, 1e31], np.float32)
    for zero_is_missing, gaps in ((False, [0, 0, 1, 1, 1, 1]), (True, [1, 0, 1, 1, 1, 1])):
        flux = calibrate(counts, 31.4, zero_is_missing)
        np.testing.assert_array_equal(np.isnan(flux), np.array(gaps, bool))


def test_the_result_lies_where_it_is_wanted() -> None:
    out = np.empty((2, 3), np.float32)
    assert calibrate(np.ones((2, 3), np.int16), 31.4, True, out=out) is out
    np.testing.assert_array_equal(out, 1)


@pytest.mark.parametrize("kind", [">f4", "<f4"])
@pytest.mark.parametrize("limits", [(-HUGE, HUGE), (0, np.inf)])
@pytest.mark.parametrize("zero_is_missing", [False, True])
@pytest.mark.parametrize("factor", [1.0, 3.981071705534973, 1e-30, 3e30])
def test_one_pass_makes_the_bits_that_numpy_makes(
    kind: str,
    limits: tuple[float, float],
    zero_is_missing: bool,
    factor: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Any bits that a file may hold, not-a-numbers and denormal ones too, and the limits themselves."""
    pytest.importorskip("scanner.images._decoders", reason="installed without a compiler")
    random = np.random.default_rng(5)
    values = np.frombuffer(random.bytes(4 * 3001 * 7), kind).reshape(3001, 7).copy()
    near = np.float32([HUGE, min(HUGE / factor, HUGE), 0, np.inf, np.nan, np.finfo(np.float32).tiny, 1e-45])
    values[:4] = [near, -near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(np.inf))]
    one_pass, by_numpy = np.empty((2, *values.shape), np.float32)
    assert calibration._scale is not None
    assert scale(values, factor, limits, zero_is_missing, one_pass) is one_pass
    monkeypatch.setattr(calibration, "_scale", None)
    scale(values, factor, limits, zero_is_missing, by_numpy)
    assert 0 < np.isnan(by_numpy).mean() < 0.9
    np.testing.assert_array_equal(one_pass.view(np.uint32), by_numpy.view(np.uint32))


def test_pixels_that_do_not_follow_each_other_are_scaled_too() -> None:
    values, out = np.arange(12, dtype=">f4").reshape(3, 4)[:, ::2], np.zeros((3, 4), np.float32)[:, ::2]
    scale(values, 2.0, (-HUGE, HUGE), True, out)
    np.testing.assert_array_equal(out, [[np.nan, 4], [8, 12], [16, 20]])


@pytest.mark.parametrize("shape", [(40, 30), (2, 39, 51)])
def test_an_invented_wcs_has_its_centre_in_the_middle_and_the_scale_it_is_given(shape: tuple[int, ...]) -> None:
    wcs = flat_wcs(shape, 0.25)
    x, y = wcs.all_world2pix(*FLAT_CENTRE, 0)
    assert (float(x), float(y)) == pytest.approx(((shape[-1] - 1) / 2, (shape[-2] - 1) / 2))
    north = wcs.all_world2pix(FLAT_CENTRE[0], FLAT_CENTRE[1] + 0.25 / 3600, 0)
    east = wcs.all_world2pix(FLAT_CENTRE[0] + 0.25 / 3600, FLAT_CENTRE[1], 0)
    assert (float(north[0] - x), float(north[1] - y)) == pytest.approx((0, 1), abs=1e-6)
    assert (float(east[0] - x), float(east[1] - y)) == pytest.approx((-1, 0), abs=1e-6)
