"""What is learned beside the reconstruction: two views of an object are alike, and the simulator's kinds are told."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import POOLINGS, Augment, Config, Objective
from training.cutouts.shards import KINDS
from training.loop.batches import CENTRED, make_batch, open_cutouts, sample, views
from training.loop.objective import TrainingObjective, info_nce
from training.model.mae import patchify
from training.model.pooling import pool, pool_visible

BOTH = Objective(contrast=1.0, simulated=0.5)


@pytest.fixture
def config(tiny: Config) -> Config:
    return replace(tiny, objective=BOTH)


def two_views(shards: Path, config: Config, rows: int = 8) -> object:
    cutouts = open_cutouts(shards, config)
    keys = np.stack([np.zeros(rows, np.int64), np.arange(rows)], axis=1)
    return make_batch(cutouts, views(keys, 2), config.augment, config)


def test_the_loss_of_the_comparison_is_its_formula() -> None:
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(6, 4, dtype=torch.float64), dim=1)
    expected = 0.0
    for row, other in enumerate((3, 4, 5, 0, 1, 2)):
        against = [float(torch.exp(vectors[row] @ vectors[j] / 0.2)) for j in range(6) if j != row]
        expected -= np.log(float(torch.exp(vectors[row] @ vectors[other] / 0.2)) / sum(against)) / 6
    assert float(info_nce(vectors, 0.2)) == pytest.approx(expected)


def test_views_that_agree_cost_nothing_and_views_of_others_much() -> None:
    apart = torch.eye(4).repeat(2, 1)
    assert float(info_nce(apart, 0.05)) < 1e-6
    assert float(info_nce(torch.cat([apart[:4], apart[:4].roll(1, 0)]), 0.05)) > 10


def test_autocast_does_not_round_the_comparison() -> None:
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(32, 128), dim=1)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = (vectors @ vectors.T).float()
        loss = info_nce(vectors, 0.05)
    assert not torch.equal(rounded, vectors @ vectors.T)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, info_nce(vectors, 0.05))


TOLD = """
import sys
import torch
from training.config import Config, Model, Objective
from training.loop.objective import TrainingObjective
from training.loop.processes import join_processes

shape = Model(bands=("g", "r"), window=16, dim=16, depth=1, heads=2, decoder_dim=8, decoder_depth=1, decoder_heads=2)
with join_processes() as world:
    world.device = torch.device("cpu")
    torch.manual_seed(0)
    model = TrainingObjective(Config(model=shape, objective=Objective(contrast=1.0)))
    wrapped, each = world.wrap(model), 6 // world.size
    flux, noise = (
        drawn[:, world.rank * each : (world.rank + 1) * each].flatten(0, 1)
        for drawn in (torch.randn(2, 6, 2, 16, 16), torch.rand(2, 6, 4))
    )
    nothing_hidden, unknown = torch.zeros_like(flux, dtype=torch.bool), torch.full((len(flux),), -1)
    losses = wrapped(flux, noise, nothing_hidden, unknown, flux[:0])
    losses.total.backward()
    if world.first:
        gradients = {name: found.grad for name, found in model.named_parameters()}
        torch.save({"contrast": losses.parts[1], **gradients}, sys.argv[1])
"""


def test_views_are_compared_with_those_of_all_processes(tmp_path: Path) -> None:
    """Two processes with half of the objects each: the loss and all gradients of one process with all of them."""
    (tmp_path / "told.py").write_text(TOLD)
    here = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, how in (("one", []), ("two", torchrun)):
        command = [sys.executable, *how, str(tmp_path / "told.py"), str(tmp_path / name)]
        subprocess.run(command, env=here, check=True)
    one, two = (torch.load(tmp_path / name) for name in ("one", "two"))
    assert float(one["contrast"]) > 1
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            two[name], value, atol=1e-6, rtol=1e-4, msg=lambda said, name=name: f"{name}: {said}"
        )


@pytest.mark.parametrize("how", POOLINGS)
def test_a_window_of_which_all_is_visible_is_pooled_alike(how: str) -> None:
    tokens, order = torch.randn(3, 17, 8), torch.stack([torch.randperm(16) for _ in range(3)])
    shuffled = torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, order[..., None].expand(-1, -1, 8))], dim=1)
    torch.testing.assert_close(pool_visible(shuffled, order, how, 4), pool(tokens, how))


def test_the_centre_counts_most_in_gaussian_pooling() -> None:
    def weight(at: int) -> float:
        tokens = torch.zeros(1, 65, 1)
        tokens[0, 1 + at] = 1
        return float(pool(tokens, "gaussian"))

    assert weight(27) == pytest.approx(weight(36))
    assert weight(27) > 2 * weight(25) > 8 * weight(0)


def test_two_views_show_one_object_differently(shards: Path, config: Config) -> None:
    batch = two_views(shards, config)
    assert batch.flux.shape[0] == 16
    assert not any(
        torch.equal(one.nan_to_num(), two.nan_to_num()) for one, two in zip(*batch.flux.chunk(2), strict=True)
    )
    assert torch.equal(*batch.kind.chunk(2))
    assert [KINDS[kind] if kind >= 0 else "" for kind in batch.kind[:6].tolist()] == [
        "galaxy", "star", "lookalike", "lens", "galaxy", "",
    ]  # fmt: skip


def test_objects_nobody_knows_teach_no_kind(shards: Path, config: Config) -> None:
    model, batch = TrainingObjective(config), two_views(shards, config)
    partial = model(*batch._replace(kind=batch.kind.where(batch.kind != 3, -1)))
    other = batch.flux.clone()
    other[batch.kind == 3] *= 3
    again = model(*batch._replace(flux=other, kind=batch.kind.where(batch.kind != 3, -1)))
    assert float(partial.parts[2]) == pytest.approx(float(again.parts[2]), rel=1e-5)
    assert float(partial.parts[1]) != pytest.approx(float(again.parts[1]), rel=1e-5)
    nobody = model(*batch._replace(kind=torch.full_like(batch.kind, -1)))
    assert float(nobody.parts[2]) == 0
    nobody.total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_without_terms_it_is_the_plain_autoencoder(shards: Path, tiny: Config) -> None:
    torch.manual_seed(0)
    model = TrainingObjective(tiny)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"mae"}
    batch = two_views(shards, tiny)
    losses = model(*batch)
    assert torch.equal(losses.total, losses.parts[0])
    assert torch.equal(losses.total, model.mae(batch.flux, batch.noise, batch.hidden).loss)


def test_visible_pixels_are_denoised_where_that_is_asked_for(shards: Path, tiny: Config) -> None:
    """The batch carries the flux without noise; visible pixels cost then, and the noise is not to be predicted."""
    noisy = replace(tiny, augment=replace(CENTRED, noise=3.0), objective=Objective(denoise=0.5))
    cutouts, keys = open_cutouts(shards, noisy), np.stack([np.zeros(8, np.int64), np.arange(8)], axis=1)
    batch = make_batch(cutouts, keys, noisy.augment, noisy)
    plain = make_batch(cutouts, keys, CENTRED, noisy)
    torch.testing.assert_close(batch.clean, plain.flux, equal_nan=True)
    assert not torch.allclose(batch.flux, batch.clean, equal_nan=True)
    torch.manual_seed(0)
    model = TrainingObjective(noisy)
    losses = model(*batch)
    assert float(losses.parts[3]) > 0
    torch.testing.assert_close(losses.total, losses.parts[0] + 0.5 * losses.parts[3])
    out = model.mae(batch.flux, batch.noise, batch.hidden, batch.clean)
    target = patchify(model.mae.pixels.stretch(batch.clean)[0], tiny.model.patch)
    visible = patchify(batch.flux.isfinite(), tiny.model.patch) & ~out.masked[..., None]
    torch.testing.assert_close(losses.parts[3], (out.prediction - target)[visible].square().mean())


def test_noise_is_added_in_units_of_the_sky(tiny: Config) -> None:
    random = np.random.default_rng(0)
    sky = np.array([2.0, 50.0, 7.0], np.float32)[:, None, None]
    cutout = random.normal(size=(3, 40, 40)).astype(np.float32) * sky
    cutout[2] = np.nan
    plain, noisy = Augment(jitter=0, flips=False), replace(CENTRED, noise=2.0)
    amounts = []
    for seed in range(60):
        before, *_ = sample(cutout, np.random.default_rng(seed), replace(plain, drop_band=0.0), tiny.model)
        after, *_ = sample(cutout, np.random.default_rng(seed), noisy, tiny.model)
        amounts.append((after - before)[:2].std(axis=(1, 2)) / sky[:2, 0, 0])
        assert np.isnan(after[2]).all()
    assert np.mean(amounts, axis=0) == pytest.approx([1.0, 1.0], abs=0.25)
    assert np.ptp(amounts, axis=0).min() > 1.5
