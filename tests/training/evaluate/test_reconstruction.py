"""Reconstruction error in units of a flat fill: none for a perfect picture, one for a flat one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from training.config import Config
from training.evaluate.sets.lenses import LabelledWindows
from training.evaluate.tasks.reconstruction import RATIOS, reconstruction, relative_error
from training.figures.reconstruction import Reconstruction
from training.loop.checkpoint import Checkpoint, save
from training.model.mae import MaskedAutoencoder


@pytest.fixture(scope="module")
def flux() -> np.ndarray:
    y, x = np.mgrid[:32, :32] - 15.5
    noise = np.random.default_rng(0).normal(size=(6, 3, 32, 32))
    return (20 * np.exp(-np.hypot(x, y) / 4) + noise).astype(np.float32)


def halves(flux: np.ndarray, completed: np.ndarray) -> Reconstruction:
    masked = np.zeros((len(flux), 1, 32, 32), bool)
    masked[..., 16:] = True
    return Reconstruction(("g", "r", "i"), flux, completed, masked, np.ones(3, np.float32))


def test_perfect_is_zero_and_flat_is_one(flux: np.ndarray) -> None:
    flux = flux.copy()
    flux[:2, 0, :8] = np.nan
    flat = np.sinh(np.nanmean(np.arcsinh(flux[..., :16]), axis=(2, 3), keepdims=True))
    assert relative_error(halves(flux, flux)) == pytest.approx(0)
    assert relative_error(halves(flux, np.broadcast_to(flat, flux.shape))) == pytest.approx(1, rel=1e-4)


def test_only_what_was_hidden_counts(flux: np.ndarray) -> None:
    wrong = flux.copy()
    wrong[..., :16] += 100
    assert relative_error(halves(flux, wrong)) == pytest.approx(0)


def test_a_run_is_measured_at_every_mask_ratio(tiny: Config, flux: np.ndarray, tmp_path: Path) -> None:
    model = MaskedAutoencoder(tiny.model)
    path = tmp_path / "checkpoint.safetensors"
    save(Checkpoint(replace(tiny, name="untrained"), {}, {}, model.state_dict()), path)
    cube = np.full((6, 5, 32, 32), np.nan, np.float32)
    cube[:, 1:4] = flux
    sets = SimpleNamespace(
        lenses=LabelledWindows(cube, np.zeros(6, bool), np.zeros(6), np.zeros(6, str), np.zeros(6, bool))
    )
    name, result = reconstruction(path, sets, simulated=False)  # type: ignore[arg-type]
    assert name == "untrained"
    assert list(result.estimates) == [f"error, real, {ratio:.0%} hidden" for ratio in RATIOS]
    assert all(0.3 < estimate.value < 30 for estimate in result.estimates.values())
