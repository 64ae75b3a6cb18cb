"""The third stage: a lens score is learned, the embedding fits it, the run resumes exactly, scores are calibrated."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from catalogs.errors import ScannerError
from tests.training.conftest import galaxies
from training.config import Config, Score
from training.loop.averaging import average_runs
from training.loop.batches import CENTRED, make_batch, open_cutouts
from training.loop.calibration import held_out_odds
from training.loop.checkpoint import NAME, Checkpoint, load
from training.loop.journal import read_log
from training.loop.pretrain import pretrain
from training.loop.stage import blend
from training.model.pooling import pool

CLASSES = ("lens", "galaxy", "ring")


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards in which a lens is a galaxy with light beside it, and a ring one with light around it."""
    folder = tmp_path_factory.mktemp("painted")
    y, x = np.mgrid[:40, :40] - 20
    shards = []
    for name, split, rows in (("a", "train", 120), ("b", "validate", 60)):
        pixels, labels = galaxies(rows, len(shards)), ["lens", "galaxy", "ring", ""] * (rows // 4)
        pixels[0::4] += 400 * np.exp(-((x - 6) ** 2 + (y - 3) ** 2) / 8)
        pixels[2::4] += 100 * np.exp(-((np.hypot(x, y) - 7) ** 2) / 4)
        np.save(folder / f"{name}.npy", pixels.astype(np.float32))
        pq.write_table(pa.table({"label": labels, "kind": ["painted"] * rows}), folder / f"{name}.parquet")
        shards.append({"file": f"{name}.npy", "rows": rows, "source": "field_painted", "split": split})
        # Ordinary objects, most of which no lens is painted on.
        np.save(folder / f"{name}-plain.npy", galaxies(20, 2 + len(shards)).astype(np.float32))
        shards.append({"file": f"{name}-plain.npy", "rows": 20, "source": "field", "split": split})
        if split == "validate":
            # Lenses and look-alikes of a simulated scene, and places without an object, are no ordinary objects.
            labels = [*[""] * 14, "lens", "lens", "lookalike", "lookalike", "", ""]
            kinds = [*["object"] * 18, "sky", "sky"]
            pq.write_table(pa.table({"label": labels, "kind": kinds}), folder / f"{name}-plain.parquet")
    manifest = {"bands": list("ugriz"), "pixel_scale": 0.18577, "window": 40, "unit": "nJy", "shards": shards}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, painted: Path, tiny: Config) -> Path:
    out = tmp_path_factory.mktemp("first")
    pretrain(tiny, painted, out)
    return out


@pytest.fixture(scope="module")
def scored(tiny: Config) -> Config:
    score = Score(classes=CLASSES, hidden=16, prevalence=0.01)
    optimiser = replace(tiny.optimiser, steps=200, lr=3e-3, ema=0.9)
    run = replace(tiny.run, checkpoint_every=20, validate_every=20, embed_rows=1000)
    return replace(tiny, score=score, optimiser=optimiser, run=run, augment=replace(tiny.augment, jitter=2))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, painted: Path, first: Path, scored: Config) -> Path:
    out = tmp_path_factory.mktemp("lens")
    assert pretrain(scored, painted, out, begin=first) == 0
    return out


@torch.no_grad()
def test_lenses_score_above_everything_else(run: Path, painted: Path, scored: Config) -> None:
    """On cutouts that no weight was fitted to; the scores are log-odds, so most others lie below zero."""
    graph, held_out = load(run).embedding(), open_cutouts(painted, scored, "validate")
    keys = np.stack([np.zeros(60, np.int64), np.arange(60)], axis=1)
    batch = make_batch(held_out, keys, CENTRED, scored)
    assert batch.kind.tolist()[:4] == [0, 1, 2, 1], "a cutout without a label is an ordinary galaxy"
    embedding, scores = graph(batch.flux)
    assert scores.shape == (60, 1)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(60))
    is_lens = (batch.kind == 0).numpy()
    lens, other = scores[is_lens, 0].numpy(), scores[~is_lens, 0].numpy()
    assert (lens[:, None] > other).mean() > 0.9
    assert np.median(other) < np.log(0.01 / 0.99)


@torch.no_grad()
def covariance(checkpoint: Checkpoint, painted: Path, config: Config) -> torch.Tensor:
    """Of all dimensions of the embedding before it is scaled to length 1, over the cutouts without paint."""
    graph, plain = checkpoint.embedding(), open_cutouts(painted, config).as_they_are()
    assert plain.labels.tolist() == [""] * 20
    keys = np.stack([np.zeros(20, np.int64), np.arange(20)], axis=1)
    tokens, missing = graph.encode(make_batch(plain, keys, CENTRED, config).flux)
    vectors = (pool(tokens, graph.options.pooling) - graph.mean - missing @ graph.missing) @ graph.projection
    scatter = vectors.std()
    assert vectors.mean(dim=0).abs().max() < 1e-3 * scatter, "centred"
    return torch.cov(vectors.double().T) / scatter**2


def test_the_embedding_is_fitted_to_the_weights_after_the_training(run: Path, painted: Path, scored: Config) -> None:
    """Its dimensions are uncorrelated and fall, which they do for the statistics of these very weights alone."""
    after = covariance(load(run), painted, scored)
    variance = after.diagonal()
    assert (after - torch.diag(variance)).abs().max() < 1e-3
    assert (variance.diff() < 1e-6).all()
    assert load(run).data["recipe"]["whitening"] == scored.score.whitening == 0.8


def test_without_a_cutout_that_nothing_is_painted_into_no_embedding_can_be_fitted(
    painted: Path, first: Path, scored: Config, tmp_path: Path
) -> None:
    manifest = json.loads((painted / "manifest.json").read_text())
    manifest["shards"] = [entry for entry in manifest["shards"] if entry["file"] != "a-plain.npy"]
    for file in painted.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    short = replace(scored, optimiser=replace(scored.optimiser, steps=2, warmup=1))
    with pytest.raises(ScannerError, match="nothing is painted into") as bad:
        pretrain(short, tmp_path, tmp_path / "run", begin=first)
    assert bad.value.code == "shards.empty"


def test_scores_are_calibrated_to_the_prevalence(run: Path, painted: Path, scored: Config) -> None:
    """Shifted to the share of lenses among lenses and ordinary objects, the mean probability is that share."""
    graph, held_out = load(run).embedding(), open_cutouts(painted, scored, "validate")
    odds, rows = held_out_odds(graph, held_out, scored, torch.device("cpu"))
    assert graph.head is not None
    counts = (held_out.is_painted[rows] & (held_out.kinds[rows] == 0)) | held_out.is_ordinary[rows]
    assert counts.sum() == sum(load(run).data["calibrated_on"]["lens"]) == 15 + 14
    scores = odds[counts, 0] * float(graph.head.slope) + float(graph.head.offset)
    share = (held_out.kinds[rows][counts] == 0).mean()
    shifted = scores - np.log(0.01 / 0.99) + np.log(share / (1 - share))
    assert (1 / (1 + np.exp(-shifted))).mean() == pytest.approx(share, abs=0.06)


def test_a_killed_run_resumes_to_the_same_weights(
    run: Path, first: Path, painted: Path, scored: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights before are in the checkpoint: the run that it began with may be gone."""
    from training.loop import pretrain as loop

    saved = loop._save

    def save_and_die(trainer: object, progress: loop.Progress, path: Path) -> None:
        saved(trainer, progress, path)  # type: ignore[arg-type]
        if progress.step == 20:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            pretrain(scored, painted, tmp_path, begin=first)
    assert pretrain(scored, painted, tmp_path, resume=True, begin=Path("gone")) == 0
    one, other = load(run), load(tmp_path)
    assert one.data["recipe"] == other.data["recipe"]
    assert [stage["name"] for stage in other.data["stages"]] == ["tiny"]
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


def test_a_frozen_encoder_and_random_weights(first: Path, painted: Path, scored: Config, tmp_path: Path) -> None:
    """With ``frozen`` only the head is trained, and the embedding stays; a run may begin with random weights, too."""
    short = replace(scored, optimiser=replace(scored.optimiser, steps=6, warmup=1))
    frozen = replace(short, score=replace(scored.score, frozen=True))
    assert pretrain(frozen, painted, tmp_path / "frozen", begin=first) == 0
    before, after = load(first).embedding().state_dict(), load(tmp_path / "frozen").embedding().state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    losses = [record["loss"] for record in read_log(tmp_path / "frozen") if "loss" in record]
    assert losses[-1] < losses[0]
    assert load(tmp_path / "frozen").data["recipe"] == asdict(load(first).embedding().options)
    assert pretrain(short, painted, tmp_path / "random") == 0
    trained = load(tmp_path / "random")
    assert "began_with" not in trained.data
    weights = trained.embedding().state_dict()
    assert not torch.equal(weights["encoder.vit.cls_token"], before["encoder.vit.cls_token"])
    with torch.no_grad():
        embedding, _ = trained.embedding()(torch.from_numpy(galaxies(4, 7)[:, [1, 2, 3], 4:36, 4:36]))
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(4))


def test_what_cannot_be_scored_is_refused(
    painted: Path, first: Path, shards: Path, scored: Config, tmp_path: Path
) -> None:
    with pytest.raises(ScannerError, match=r"begin with lens") as bad:
        replace(scored.score, classes=("galaxy", "lens"))
    assert bad.value.code == "config.bad"
    for part in ({"dim": 16}, {"depth": 1}, {"heads": 4}):
        other = replace(scored, model=replace(scored.model, **part))
        with pytest.raises(ScannerError, match="do not fit") as shape:
            pretrain(other, painted, tmp_path / "other", begin=first)
        assert shape.value.code == "run.other_model"
    # Nothing is held out that is a lens, so that scores cannot be calibrated.
    short = replace(scored, optimiser=replace(scored.optimiser, steps=1, warmup=1))
    with pytest.raises(ScannerError, match="held out") as empty:
        pretrain(short, shards, tmp_path / "empty", begin=first)
    assert empty.value.code == "shards.empty"
    assert not (tmp_path / "empty" / NAME).exists() or not load(tmp_path / "empty").progress["finished"]


def test_kept_weights_are_part_of_the_way(run: Path, first: Path) -> None:
    """A share of 0 keeps the weights of the run before, and the head of this one."""
    after, before = load(run).embedding(), load(first).embedding()
    head = {name: weight.clone() for name, weight in after.named_parameters() if name.startswith("head.")}
    middle = {name: 0.75 * dict(after.named_parameters())[name] + 0.25 * w for name, w in before.named_parameters()}
    blend(after, before, 0.75)
    now = dict(after.named_parameters())
    assert all(torch.allclose(now[name], weight, atol=1e-6) for name, weight in middle.items())
    assert all(torch.equal(now[name], weight) for name, weight in head.items())


def test_runs_of_several_seeds_become_one(
    run: Path, first: Path, painted: Path, scored: Config, tmp_path: Path
) -> None:
    """The mean of all weights, calibrated anew; it is exported like any run."""
    other = replace(scored, run=replace(scored.run, seed=1))
    assert pretrain(other, painted, tmp_path / "other", begin=first) == 0
    mean, one, two = (
        average_runs([run, tmp_path / "other"], painted, tmp_path / "mean"),
        load(run),
        load(tmp_path / "other"),
    )
    name = "encoder.vit.blocks.0.mlp.fc1.weight"
    assert not torch.equal(one.weights[name], two.weights[name])
    torch.testing.assert_close(mean.weights[name], (one.weights[name] + two.weights[name]) / 2)
    stored = load(tmp_path / "mean")
    assert stored.weights_sha256 == mean.weights_sha256
    assert stored.data["averaged"] == [one.weights_sha256, two.weights_sha256]
    scatter = covariance(stored, painted, scored)
    assert (scatter - torch.diag(scatter.diagonal())).abs().max() < 1e-3, "the embedding is that of the mean weights"
    for wrong in (first, tmp_path / "other"):
        changed = [run, wrong] if wrong == first else [run]
        folder = tmp_path / "wrong" if wrong == first else tmp_path / "mean"
        with pytest.raises(ScannerError) as refused:
            average_runs(changed, painted, folder)
        assert refused.value.code == ("average.other_runs" if wrong == first else "run.exists")
