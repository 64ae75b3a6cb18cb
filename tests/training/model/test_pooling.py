"""What is learned of pooled vectors: the centre, what a missing band adds, the axes, and where lenses lie."""

from __future__ import annotations

import numpy as np
import torch

from training.loop.statistics import drop_bands
from training.model.pooling import Pooled, fit

NOBODY = torch.zeros(400, dtype=torch.bool)


def test_what_missing_bands_add_is_found_and_does_not_move_the_centre() -> None:
    torch.manual_seed(0)
    vectors, shift = torch.randn(400, 6) @ torch.randn(6, 6) + 5, torch.randn(3, 6)
    before, after = ((torch.rand(400, 3) < chance).float() for chance in (0.2, 0.5))
    pooled = Pooled(vectors + before @ shift, before)
    statistics = fit(pooled, Pooled(vectors + after @ shift, after), pooled, NOBODY, NOBODY)
    torch.testing.assert_close(statistics.missing, shift, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(statistics.mean, vectors.mean(dim=0), atol=1e-4, rtol=1e-4)


def test_a_band_that_is_never_there_adds_nothing() -> None:
    missing = torch.zeros(400, 3)
    missing[:, 2] = 1
    pooled = Pooled(torch.randn(400, 6), missing)
    statistics = fit(pooled, pooled, pooled, NOBODY, NOBODY)
    assert not statistics.missing.any()
    assert not statistics.lens.any()


def test_the_lens_axis_leads_from_others_to_lenses() -> None:
    torch.manual_seed(0)
    lens, other = torch.arange(400) < 40, (torch.arange(400) >= 40) & (torch.arange(400) < 300)
    pooled = Pooled(torch.randn(400, 6), torch.zeros(400, 3))
    pooled.vectors[lens] += torch.tensor([0, 0, 3.0, 0, 0, -1])
    statistics = fit(pooled, pooled, pooled, lens, other)
    torch.testing.assert_close(statistics.lens, torch.tensor([0, 0, 3.0, 0, 0, -1]), atol=0.5, rtol=0)


def test_what_an_object_changes_by_is_found_apart_from_what_missing_bands_add() -> None:
    torch.manual_seed(0)
    vectors, shift, noise = torch.randn(400, 6), torch.randn(3, 6), torch.tensor([0, 0, 0, 2.0, 0, 0])
    all_there, less = torch.zeros(400, 3), (torch.rand(400, 3) < 0.5).float()
    otherwise = Pooled(vectors + torch.randn(400, 1) * noise, all_there)
    statistics = fit(Pooled(vectors, all_there), Pooled(vectors + less @ shift, less), otherwise, NOBODY, NOBODY)
    expected = torch.zeros(6, 6)
    expected[3, 3] = 2.0  # 2 squared in one of two views, nothing in the other
    torch.testing.assert_close(statistics.changes, expected, atol=0.3, rtol=0)


def test_the_last_band_is_never_taken_away() -> None:
    flux = torch.ones(300, 3, 4, 4)
    flux[:100, 1:] = torch.nan
    flux[100:200, 0, :2] = torch.nan
    pooled = drop_bands(flux, np.random.default_rng(0))
    there = pooled.isfinite().flatten(2).any(dim=2)
    assert there.any(dim=1).all()
    assert 0.2 < float((~there[200:]).float().mean()) < 0.35
    assert torch.equal(pooled[100:200][there[100:200]].isfinite(), flux[100:200][there[100:200]].isfinite())
