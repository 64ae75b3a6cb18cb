"""Batches: right pixels, every random number from (seed, epoch, row), splits respected."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from catalogs.errors import ScannerError
from training.config import Augment, Config, Data
from training.cutouts.shards import VALIDATE
from training.loop.batches import CENTRED, make_batch, open_cutouts, sample, sample_keys


def keys(n: int, epoch: int = 0) -> np.ndarray:
    return np.stack([np.full(n, epoch), np.arange(n)], axis=1)


def test_a_sample_depends_on_seed_epoch_and_row_alone(shards: Path, tiny: Config) -> None:
    cutouts = open_cutouts(shards, tiny)
    whole, part = (
        make_batch(cutouts, keys(16), tiny.augment, tiny),
        make_batch(cutouts, keys(16)[5:7], tiny.augment, tiny),
    )
    other = make_batch(cutouts, keys(16, epoch=1), tiny.augment, tiny)
    for mine, same, different in zip(whole, part, other, strict=True):
        np.testing.assert_array_equal(mine[5:7], same)
        if mine is not whole.kind and mine.numel():  # what an object is does not change; nobody asked for ``clean``
            assert not np.array_equal(mine, different, equal_nan=mine.is_floating_point())


def test_every_epoch_sees_every_row_once_in_another_order() -> None:
    order = sample_keys(np.arange(30), 10, seed=3)
    for epoch in range(3):
        here = order[order[:, 0] == epoch, 1]
        assert sorted(here) == list(range(10))
    assert order[:10, 1].tolist() != order[10:20, 1].tolist()
    np.testing.assert_array_equal(sample_keys(np.arange(7, 12), 10, seed=3), order[7:12])


def test_bands_come_in_the_order_of_the_model_and_centred_crops_are_the_centre(shards: Path, tiny: Config) -> None:
    cutouts = open_cutouts(shards, tiny)
    stored = np.load(shards / "sim.npy")
    flux = make_batch(cutouts, keys(4), CENTRED, tiny).flux
    np.testing.assert_array_equal(flux, stored[:4, 1:4, 4:36, 4:36])


def test_validation_shards_are_never_trained_on(shards: Path, tiny: Config) -> None:
    train, held_out = open_cutouts(shards, tiny), open_cutouts(shards, tiny, VALIDATE)
    assert train.sources == {"simulated": 96, "field": 8}
    assert len(train) == 104
    assert len(held_out) == 32
    np.testing.assert_array_equal(held_out[3], np.load(shards / "held.npy")[3, 1:4])


def test_a_source_can_be_repeated_and_is_then_augmented_anew(shards: Path, tiny: Config) -> None:
    config = replace(tiny, data=Data(repeat={"field": 3}))
    cutouts = open_cutouts(shards, config)
    assert len(cutouts) == 96 + 3 * 8
    np.testing.assert_array_equal(cutouts[96], cutouts[104])
    noise = make_batch(cutouts, np.array([[0, 96], [0, 104]]), tiny.augment, tiny).noise
    assert not noise[0].equal(noise[1])
    with pytest.raises(ScannerError, match="hubble"):
        open_cutouts(shards, replace(tiny, data=Data(repeat={"hubble": 2})))


def test_at_least_one_band_with_data_stays_visible(tiny: Config) -> None:
    cutout = np.zeros((3, 40, 40), np.float32)
    cutout[1:] = np.nan  # g is all there is
    always = Augment(drop_band=0.9)
    for seed in range(50):
        _, _, hidden, _ = sample(cutout, np.random.default_rng(seed), always, tiny.model)
        assert not hidden[0].all()


def test_bands_are_dropped_as_often_as_asked(shards: Path, tiny: Config) -> None:
    cutouts = open_cutouts(shards, tiny)
    batches = [make_batch(cutouts, keys(100, epoch), Augment(drop_band=0.2), tiny).hidden for epoch in range(5)]
    share = np.mean([part.numpy().all(axis=(2, 3)).mean() for part in batches])
    assert 0.15 < share < 0.25


def test_orientations_are_drawn_in_the_order_that_checkpoints_were_trained_with(tiny: Config) -> None:
    cutout = np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32)
    turns = set()
    for seed in range(40):
        flux, *_ = sample(cutout, np.random.default_rng(seed), replace(CENTRED, flips=True), tiny.model)
        random = np.random.default_rng(seed)
        random.integers(0, 1, size=2)  # jitter
        turn = int(random.integers(8))
        expected = np.rot90(cutout.swapaxes(1, 2) if turn & 4 else cutout, turn & 3, axes=(1, 2))
        np.testing.assert_array_equal(flux, expected)
        turns.add(turn)
    assert turns == set(range(8))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"bands": ["u", "g", "r", "i", "y"], "pixel_scale": 0.339}, "shards.other_pixels"),
        ({"bands": ["u", "g", "x", "i", "z"]}, "shards.other_pixels"),
        ({"window": 30}, "shards.other_pixels"),
        ({"window": 41}, "shards.bad"),
    ],
)
def test_shards_that_do_not_serve_are_refused(
    shards: Path, tiny: Config, tmp_path: Path, change: dict[str, object], code: str
) -> None:
    folder = shutil.copytree(shards, tmp_path / "shards")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(ScannerError) as caught:
        open_cutouts(folder, tiny)
    assert caught.value.code == code


def test_damaged_and_absent_shards_are_named(shards: Path, tiny: Config, tmp_path: Path) -> None:
    with pytest.raises(ScannerError) as caught:
        open_cutouts(tmp_path, tiny)
    assert caught.value.code == "shards.missing"
    folder = shutil.copytree(shards, tmp_path / "shards")
    (folder / "sim.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ScannerError, match=r"sim\.npy") as caught:
        open_cutouts(folder, tiny)
    assert caught.value.code == "shards.bad"
