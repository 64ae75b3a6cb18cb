"""The exported vector: nothing masked, every pixel counts, unit length, ordered dimensions, missing data allowed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from catalogs.errors import ScannerError
from export.verify import make_galaxies
from training.config import POOLINGS
from training.loop.checkpoint import Checkpoint
from training.model.embedding import EmbeddingGraph, projection
from training.model.embedding_options import EmbeddingOptions
from training.model.pixels import missing_share
from training.model.pooling import Statistics, pool

ROTATION = EmbeddingOptions("mean", 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def flux(graph: EmbeddingGraph) -> torch.Tensor:
    return torch.from_numpy(make_galaxies(graph))


@torch.no_grad()
def test_two_calls_give_the_same_vectors(graph: EmbeddingGraph, flux: torch.Tensor) -> None:
    assert torch.equal(graph(flux), graph(flux))


@torch.no_grad()
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_patch_influences_the_vector(checkpoint: Checkpoint, flux: torch.Tensor, pooling: str) -> None:
    """mask_ratio is 0: had patches been hidden, changing one of them would change nothing."""
    graph, patch = checkpoint.embedding(EmbeddingOptions(pooling)), checkpoint.config.model.patch
    side = checkpoint.config.model.window // patch
    variants = flux[:1].repeat(side * side, 1, 1, 1)
    for number in range(side * side):
        y, x = (patch * at for at in divmod(number, side))
        variants[number, :, y : y + patch, x : x + patch] += 20
    changed = (graph(variants) - graph(flux[:1])).abs().amax(dim=1)
    assert (changed > 1e-4).all()


@torch.no_grad()
def test_vectors_have_unit_length_even_where_nothing_is_known(graph: EmbeddingGraph, flux: torch.Tensor) -> None:
    blank = torch.full_like(flux[:2], torch.nan)
    vectors = graph(torch.cat([flux, blank]))
    assert vectors.isfinite().all()
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))


def vectors_of(graph: EmbeddingGraph, flux: torch.Tensor) -> torch.Tensor:
    """What the graph normalises: [N, D]."""
    pixels, valid = graph.pixels.stretch(flux)
    pooled = pool(graph.encoder(graph.pixels.filled(pixels, valid)), graph.options.pooling)
    return (pooled - graph.mean - missing_share(valid) @ graph.missing) @ graph.projection


@torch.no_grad()
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("emphasis", [0.0, 2.0])
def test_dimensions_are_centred_uncorrelated_and_ordered(
    checkpoint: Checkpoint, shards: Path, pooling: str, emphasis: float
) -> None:
    graph = checkpoint.embedding(EmbeddingOptions(pooling, 0.0, 1.0, emphasis))
    flux = torch.from_numpy(np.load(shards / "a.npy")[:, :, 4:36, 4:36])
    rows = np.sort(np.random.default_rng([0, 80]).permutation(80)[:64])  # those the statistics were taken on
    vectors = vectors_of(graph, flux[rows])
    torch.testing.assert_close(vectors / vectors.norm(dim=1, keepdim=True), graph(flux[rows]))
    covariance = torch.cov(vectors.T)
    largest = covariance.diagonal().max()
    assert vectors.mean(dim=0).abs().max() < 1e-3 * largest.sqrt()
    assert (covariance - torch.diag(covariance.diagonal())).abs().max() < 1e-3 * largest
    assert (covariance.diagonal().diff() <= 1e-4 * largest).all()


def test_without_whitening_steadiness_and_emphasis_the_projection_is_a_rotation(checkpoint: Checkpoint) -> None:
    turn = projection(checkpoint.statistics["mean"], ROTATION)
    torch.testing.assert_close(turn.T @ turn, torch.eye(len(turn)), atol=1e-5, rtol=0)


def test_emphasis_stretches_along_the_axis_of_lenses_alone() -> None:
    torch.manual_seed(0)
    lens = torch.randn(6)
    statistics = Statistics.blank(3, 6)._replace(lens=lens, variance=torch.arange(6, 0, -1.0))
    plain, stretched = projection(statistics, ROTATION), projection(statistics, replace(ROTATION, emphasis=1.5))
    across = torch.linalg.qr(torch.cat([lens[:, None], torch.randn(6, 5)], dim=1)).Q[:, 1:].T
    torch.testing.assert_close((lens @ stretched).norm(), 2.5 * (lens @ plain).norm())
    torch.testing.assert_close((across @ stretched) @ (across @ stretched).T, (across @ plain) @ (across @ plain).T)


def test_what_changes_when_an_object_is_seen_otherwise_counts_less_and_nothing_else_does() -> None:
    """A direction that changes as much as objects differ along a typical axis: less by the root of 1 + steadiness."""
    torch.manual_seed(0)
    directions = torch.linalg.qr(torch.randn(6, 6)).Q
    statistics = Statistics.blank(3, 6)._replace(changes=torch.outer(directions[:, 0], directions[:, 0]))
    lengths = (directions.T @ projection(statistics, replace(ROTATION, steadiness=3.0))).norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([0.5, 1, 1, 1, 1, 1]))


@torch.no_grad()
@pytest.mark.parametrize("whitening", [0.6, 1.0])
def test_steadiness_keeps_a_noisier_image_of_an_object_nearer_to_it(
    checkpoint: Checkpoint, shards: Path, whitening: float
) -> None:
    flux = torch.from_numpy(np.load(shards / "a.npy")[:, :, 4:36, 4:36])
    noisier = flux + 2 * checkpoint.model().pixels.softening * torch.randn(flux.shape, generator=torch.manual_seed(0))

    def moved(steadiness: float) -> float:
        graph = checkpoint.embedding(EmbeddingOptions("mean", whitening, steadiness, 0.0))
        before, after = vectors_of(graph, flux), vectors_of(graph, noisier)
        return float((after - before).square().sum() / before.var(dim=0).sum())

    assert moved(10.0) < 0.9 * moved(0.0)


@torch.no_grad()
def test_what_a_missing_band_does_on_average_is_taken_away(checkpoint: Checkpoint, shards: Path) -> None:
    graph = checkpoint.embedding(ROTATION)
    flux = torch.from_numpy(np.load(shards / "a.npy")[:, :, 4:36, 4:36])
    without = flux.clone()
    without[:, 1] = torch.nan

    def moved() -> torch.Tensor:
        return (vectors_of(graph, without) - vectors_of(graph, flux)).mean(dim=0).norm()

    corrected = moved()
    graph.missing.zero_()
    assert corrected < 0.9 * moved()


@torch.no_grad()
def test_a_missing_band_moves_the_vector_but_other_garbage_in_it_does_not(
    graph: EmbeddingGraph, flux: torch.Tensor
) -> None:
    missing, sentinel = flux.clone(), flux.clone()
    missing[:, 1], sentinel[:, 1] = torch.nan, -1e30
    assert torch.equal(graph(missing), graph(sentinel))
    assert not torch.equal(graph(missing), graph(flux))


def test_a_run_without_statistics_cannot_be_exported(checkpoint: Checkpoint) -> None:
    with pytest.raises(ScannerError) as caught:
        replace(checkpoint, statistics={}).embedding()
    assert caught.value.code == "checkpoint.unfinished"


def test_whitening_takes_variance_from_the_first_axes(checkpoint: Checkpoint) -> None:
    """Axes that vary by v come to vary by v ** (1 - whitening): as they are, half way, all alike."""
    statistics = checkpoint.statistics["mean"]
    variance = statistics.variance[:8]
    for whitening in (0.0, 0.5, 1.0):
        made = variance * projection(statistics, replace(ROTATION, whitening=whitening))[:, :8].square().sum(dim=0)
        torch.testing.assert_close(made / made[0], (variance / variance[0]) ** (1 - whitening), rtol=1e-3, atol=1e-3)
