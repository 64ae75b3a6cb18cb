"""What is learned of pooled vectors: the centre, what a missing band adds, the axes, and where lenses lie."""

from __future__ import annotations

import numpy as np
import torch

from training.pooling import Pooled, fit
from training.statistics import without_bands

NOBODY = torch.zeros(400, dtype=torch.bool)


def test_what_missing_bands_add_is_found_and_does_not_move_the_centre() -> None:
    torch.manual_seed(0)
    vectors, shift = torch.randn(400, 6) @ torch.randn(6, 6) + 5, torch.randn(3, 6)
    before, after = ((torch.rand(400, 3) < chance).float() for chance in (0.2, 0.5))
    found = fit(Pooled(vectors + before @ shift, before), Pooled(vectors + after @ shift, after), NOBODY, NOBODY)
    torch.testing.assert_close(found.missing, shift, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.mean, vectors.mean(dim=0), atol=1e-4, rtol=1e-4)


def test_a_band_that_is_never_there_adds_nothing() -> None:
    vectors, missing = torch.randn(400, 6), torch.zeros(400, 3)
    missing[:, 2] = 1
    found = fit(Pooled(vectors, missing), Pooled(vectors, missing), NOBODY, NOBODY)
    assert not found.missing.any()
    assert not found.lens.any()


def test_the_lens_axis_leads_from_others_to_lenses() -> None:
    torch.manual_seed(0)
    lens, other = torch.arange(400) < 40, (torch.arange(400) >= 40) & (torch.arange(400) < 300)
    vectors, none = torch.randn(400, 6), torch.zeros(400, 3)
    vectors[lens] += torch.tensor([0, 0, 3.0, 0, 0, -1])
    found = fit(Pooled(vectors, none), Pooled(vectors, none), lens, other)
    torch.testing.assert_close(found.lens, torch.tensor([0, 0, 3.0, 0, 0, -1]), atol=0.5, rtol=0)


def test_the_last_band_is_never_taken_away() -> None:
    flux = torch.ones(300, 3, 4, 4)
    flux[:100, 1:] = torch.nan
    flux[100:200, 0, :2] = torch.nan
    seen = without_bands(flux, np.random.default_rng(0))
    there = seen.isfinite().flatten(2).any(dim=2)
    assert there.any(dim=1).all()
    assert 0.2 < float((~there[200:]).float().mean()) < 0.35
    assert torch.equal(seen[100:200][there[100:200]].isfinite(), flux[100:200][there[100:200]].isfinite())
