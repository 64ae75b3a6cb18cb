"""What is compared at equal compute is: the steps, the vectors and the tables are what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from catalogs.errors import ScannerError
from catalogs.store.vectors import unit
from studies.training import compare, limits, trees
from studies.training.__main__ import cli
from studies.training.compute import spending, step_flops
from studies.training.vectors import Baked, Encoded, baked, windows_of
from tests.training.conftest import write_shards
from training.config import Config, Model, Objective, Optimiser
from training.evaluate.embeddings import Embeddings
from training.evaluate.models import Flux
from training.loop.checkpoint import Checkpoint, load
from training.loop.pretrain import pretrain
from training.model.embedding_options import EmbeddingOptions

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
PLAN = """
flops = 3e9
tasks = ["retrieval"]

[recipe]
pooling = "mean"
whitening = 0.5
steadiness = 0.0
emphasis = 0.0

[variants]
"as it is" = {}
"patch 4" = { model.patch = 4 }

[config]
optimiser = { batch = 8, lr = 1e-3 }
run = { threads = 1, validate_rows = 8, calibrate_rows = 16, embed_rows = 48, log_every = 1 }

[config.model]
bands = ["g", "r", "i"]
window = 32
patch = 8
dim = 32
depth = 1
heads = 2
decoder_dim = 16
decoder_depth = 1
decoder_heads = 2
"""


class Windows:
    """Made-up windows [N, 5, 40, 40] without u and z, and a gap in some."""

    name = "made up"

    def __init__(self, count: int = 12) -> None:
        self.flux: Flux = np.random.default_rng(1).normal(20, 10, (count, 5, 40, 40)).astype(np.float32)
        self.flux[:, [0, 4]] = np.nan
        self.flux[::3, :, 10:14, 12:16] = np.nan


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "plan.toml"
    path.write_text(PLAN)
    return path


@pytest.fixture(scope="module")
def checkpoint(plan: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    config = compare.read(plan).variants["as it is"]
    out = tmp_path_factory.mktemp("run")
    pretrain(replace(config, optimiser=replace(config.optimiser, steps=3, warmup=1)), shards, out)
    return load(out)


def test_flops_of_a_step_worked_out_by_hand() -> None:
    """One block of an encoder without patches hidden but one: the products of its layers, forward and twice back."""
    model = Model(bands=("r",), window=16, patch=8, dim=8, depth=1, heads=2, decoder_dim=8, decoder_depth=1,
                  decoder_heads=2, mask_ratio=0.5)  # fmt: skip
    config = Config(model=model, optimiser=Optimiser(batch=10))
    linear, patches, visible, full = 12 * 8 * 8, 4, 3, 5
    blocks = linear * (visible + full) + 2 * 8 * (visible**2 + full**2)  # four matrices, and attention, in each
    ends = 8 * 8 * visible + 64 * 8 * patches  # into the decoder, and to pixels
    embedding = 64 * 8 * patches  # whose input has a gradient too: the fill patch is learned
    assert step_flops(config) == pytest.approx(10 * 3 * 2 * (blocks + ends + embedding), rel=0.05)


def test_equal_compute_is_equal_and_a_second_view_costs_twice() -> None:
    config = Config(model=Model(window=32, dim=32, depth=2, heads=2), optimiser=Optimiser(batch=8))
    two = replace(config, objective=Objective(contrast=1.0))
    assert step_flops(two) == pytest.approx(2 * step_flops(config), rel=0.1)
    budget = 1000 * step_flops(config)
    for one in (config, two, replace(config, model=replace(config.model, patch=4))):
        assert spending(one, budget).optimiser.steps * step_flops(one) == pytest.approx(budget, rel=0.01)


def test_the_shipped_plan_reads_and_its_variants_differ() -> None:
    plan = compare.read()
    configs = [replace(config, name="") for config in plan.variants.values()]
    assert all(configs.count(config) == 1 for config in configs)
    spent = [config.optimiser.steps * step_flops(config) for config in configs[:4]]
    assert spent == pytest.approx([plan.flops] * 4, rel=0.01)


def test_an_unknown_key_of_a_variant_is_named(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN.replace("model.patch = 4", "model.patches = 4"))
    with pytest.raises(ScannerError, match="patches"):
        compare.read(path)


@pytest.mark.parametrize(
    "options",
    [
        EmbeddingOptions(),
        EmbeddingOptions("cls", 0.0, 0.0),
        EmbeddingOptions("mean", 1.0, 0.0),
        EmbeddingOptions("central"),
    ],
)
def test_baked_vectors_are_those_of_the_exported_graph(checkpoint: Checkpoint, options: EmbeddingOptions) -> None:
    windows, encoded = Windows(), Encoded(checkpoint)
    vectors = Baked(Embeddings(lambda _: encoded, encoded.side), baked(checkpoint, options)).of(windows)
    graph = checkpoint.embedding(options)
    with torch.no_grad():
        expected = graph(torch.from_numpy(windows.flux[:, 1:4, 4:36, 4:36]))
    np.testing.assert_allclose(vectors, expected, atol=1e-4)


def test_windows_of_shards_have_every_band_in_its_place(checkpoint: Checkpoint, shards: Path) -> None:
    flux = np.concatenate(list(windows_of(shards, checkpoint.config, 20)))
    assert flux.shape == (20, 5, 32, 32)
    assert np.isnan(flux[:, [0, 4]]).all()
    assert np.isfinite(flux[:, 1:4]).mean() > 0.9


@pytest.mark.shared("retrieval of 48 lenses among 916 galaxies")
def test_a_comparison_that_was_interrupted_goes_on_with_what_is_missing(
    plan: Path, shards: Path, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first variant is trained and measured, then the command again: the first is not trained or measured anew."""
    comparison, trained = compare.read(plan), []
    really = compare.pretrain
    monkeypatch.setattr(
        compare, "pretrain", lambda config, *a, **k: (trained.append(config.name), really(config, *a, **k))[1]
    )
    first = next(compare.compare(comparison, shards, shared_data, tmp_path, lambda _: None))
    before = (tmp_path / "as-it-is" / "measured.json").stat().st_mtime_ns
    again, other = compare.compare(comparison, shards, shared_data, tmp_path, lambda _: None)
    assert trained == ["as it is", "as it is", "patch 4"]
    assert (tmp_path / "as-it-is" / "measured.json").stat().st_mtime_ns == before
    name = "mAP matched"
    assert again.results["retrieval"].estimates[name].value == first.results["retrieval"].estimates[name].value
    assert again.results["retrieval"].estimates[name].low == pytest.approx(
        first.results["retrieval"].estimates[name].low, abs=1e-4
    )
    assert other.steps < again.steps == comparison.variants["as it is"].optimiser.steps


def test_trees_find_what_a_few_directions_tell_and_not_what_is_spread_evenly() -> None:
    random = np.random.default_rng(0)
    decay = np.arange(1, 129) ** -1.0
    flat, steep = (unit(random.normal(size=(6000, 128)) * scale) for scale in (np.ones(128), decay))
    assert trees.recall(steep) > trees.recall(flat) + 0.2


def test_scores_are_out_of_fold_and_fewer_labels_tell_less() -> None:
    random = np.random.default_rng(0)
    label = np.arange(300) % 3 == 0
    noise = random.normal(size=(300, 20))
    signal = noise + label[:, None] * 0.5
    auc = {
        share: limits.estimate_auc(limits.out_of_fold(signal, label, share=share), label).value
        for share in (0.125, 1.0)
    }
    assert 0.7 < auc[0.125] < auc[1.0] < 0.999
    assert limits.estimate_auc(limits.out_of_fold(noise, label), label).value == pytest.approx(0.5, abs=0.12)
    for make in limits.FORMS.values():
        assert limits.estimate_auc(limits.out_of_fold(signal, label, make), label).value > 0.8


def test_every_command_has_help_with_an_example() -> None:
    for name in cli.commands:
        done = CliRunner().invoke(cli, [name, "--help"])
        assert done.exit_code == 0
        assert "python -m studies.training" in done.output
