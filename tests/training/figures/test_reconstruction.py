"""The picture shows what was masked, what was predicted, and nothing that was trained on when there is a choice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from scanner.figures.composite import NO_DATA, compose_rgb
from training.config import Config
from training.cutouts.shards import VALIDATE
from training.figures.reconstruction import GIVEN, HIDDEN, bright, complete, draw, reconstruct
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
    np.testing.assert_allclose(result.flux, batch.flux.numpy(), rtol=1e-6)
    assert result.given == (GIVEN if normalised else "")


def test_the_picture_says_what_was_lent_and_its_cutouts_are_those_of_a_gallery(
    shards: Path, tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    keep = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: (figures.append(figure), keep(figure, *a, **k)))
    held_out = open_cutouts(shards, tiny, VALIDATE)
    for normalised in (False, True):
        model = MaskedAutoencoder(replace(tiny.model, normalised_target=normalised)).eval()
        result = complete(model, make_batch(held_out, np.array([[0, 0]]), CENTRED, tiny))
        draw(result, tiny.model.pixel_scale, tmp_path / "figure.png")
    axes = figures[0].axes[0]
    given, seen, filled, residual = (image.get_array() for image in axes.images[:4])
    np.testing.assert_array_equal(given, compose_rgb(result.flux[0], result.bands))
    hidden = result.masked[0, 0, ::-1]
    assert (seen[hidden] == HIDDEN).all()
    np.testing.assert_array_equal(seen[~hidden], given[~hidden])
    np.testing.assert_array_equal(filled[~hidden], given[~hidden])
    assert set(np.unique(residual[~hidden])) <= {128, *NO_DATA.tolist()}
    assert len(np.unique(residual[hidden])) > 10
    titles = [[text.get_text() for text in figure.axes[0].texts] for figure in figures]
    assert f"reconstruction {GIVEN}" not in titles[0]
    assert f"reconstruction {GIVEN}" in titles[1]
    assert {"colour", "input", "masked", "reconstruction", "residual"} < set(titles[0])
    assert "\N{DOUBLE PRIME}" in "".join(titles[0])
    # The same pixels twice, in both formats.
    for ending in ("png", "pdf"):
        first, second = (
            draw(result, tiny.model.pixel_scale, tmp_path / f"{name}.{ending}").read_bytes() for name in "ab"
        )
        assert first == second


def test_bright_objects_with_all_bands_are_chosen(shards: Path, tiny: Config) -> None:
    held_out = open_cutouts(shards, tiny, VALIDATE)
    keys = bright(held_out, tiny, 4, seed=0)
    assert len(np.unique(keys[:, 1])) == 4
    assert np.median([np.nanmax(held_out[row]) for _, row in keys]) > np.median(
        [np.nanmax(c) for c in map(held_out.__getitem__, range(32))]
    )


def test_a_png_is_drawn_at_any_mask_ratio(shards: Path, tiny: Config, tmp_path: Path) -> None:
    pretrain(replace(tiny, optimiser=replace(tiny.optimiser, steps=1)), shards, tmp_path / "run")
    out = reconstruct(tmp_path / "run", shards, tmp_path / "figure.png", rows=2, mask_ratio=0.5)
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 500
        assert len(np.unique(np.asarray(picture.convert("L")))) > 100
