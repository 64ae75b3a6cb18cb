"""The picture shows what was masked, what was predicted, and nothing that was trained on when there is a choice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from training.config import Config
from training.cutouts.shards import VALIDATE
from training.figures.reconstruction import GIVEN, bright, colours, complete, draw, reconstruct
from training.loop.batches import CENTRED, make_batch, open_cutouts
from training.loop.pretrain import pretrain
from training.model.mae import MaskedAutoencoder


@pytest.mark.parametrize("normalised", [False, True])
def test_visible_patches_are_the_input_and_masked_ones_the_prediction(
    shards: Path, tiny: Config, normalised: bool
) -> None:
    torch.manual_seed(0)
    model = MaskedAutoencoder(replace(tiny.model, normalised_target=normalised)).eval()
    held_out = open_cutouts(shards, tiny, VALIDATE)
    batch = make_batch(held_out, np.array([[0, 0], [0, 3], [0, 4]]), CENTRED, tiny)
    result = complete(model, batch)
    masked = np.broadcast_to(result.masked, result.flux.shape)
    assert masked.mean() == 0.75
    np.testing.assert_array_equal(result.flux[~masked], result.completed[~masked])
    assert np.isfinite(result.completed[masked]).all()
    assert (result.flux[masked] != result.completed[masked]).all()
    np.testing.assert_allclose(result.flux, batch.flux.numpy(), rtol=1e-6)  # softening is 1: already in sky noise
    assert result.given == (GIVEN if normalised else "")


def test_the_picture_says_what_was_lent_to_the_prediction(
    shards: Path, tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []
    monkeypatch.setattr(Figure, "suptitle", lambda figure, title, **style: titles.append(title))
    held_out = open_cutouts(shards, tiny, VALIDATE)
    for normalised in (False, True):
        model = MaskedAutoencoder(replace(tiny.model, normalised_target=normalised)).eval()
        draw(complete(model, make_batch(held_out, np.array([[0, 0]]), CENTRED, tiny)), tmp_path / "figure.png")
    assert titles == [f"reconstruction {GIVEN}"]


def test_bright_objects_with_all_bands_are_chosen(shards: Path, tiny: Config) -> None:
    held_out = open_cutouts(shards, tiny, VALIDATE)
    keys = bright(held_out, tiny, 4, seed=0)
    assert len(np.unique(keys[:, 1])) == 4
    assert np.median([np.nanmax(held_out[row]) for _, row in keys]) > np.median(
        [np.nanmax(c) for c in map(held_out.__getitem__, range(32))]
    )


def test_colours_are_irg_where_there_are_such_bands() -> None:
    assert colours(("u", "g", "r", "i", "z")) == ("i", "r", "g")
    assert colours(("J", "H", "K")) == ("K", "H", "J")


def test_a_png_is_drawn_at_any_mask_ratio(shards: Path, tiny: Config, tmp_path: Path) -> None:
    pretrain(replace(tiny, optimiser=replace(tiny.optimiser, steps=1)), shards, tmp_path / "run")
    out = reconstruct(tmp_path / "run", shards, tmp_path / "figure.png", rows=2, mask_ratio=0.5)
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 500
        assert len(np.unique(np.asarray(picture.convert("L")))) > 100
