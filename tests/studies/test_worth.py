"""What pre-training is worth: cells are run once, the table has their numbers, and what was not run stays empty."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import training
from catalogs.errors import ScannerError
from catalogs.estimate import PairedEstimate
from studies.training import worth, worth_report
from studies.training.__main__ import cli
from studies.training.runs import store
from tests.training.conftest import CONFIGS, galaxies
from training.config import Objective, Optimiser, read
from training.cutouts.shards import Shard, make_table, write_manifest, write_shard
from training.evaluate.results import TaskResult
from training.evaluate.sets.lenses import LabelledWindows
from training.loop.checkpoint import load
from training.loop.pretrain import pretrain

PLAN = """
config = "tiny-lens.toml"
lenses = [4, 12]
seeds = [0, 1]

[starts]
"pre-trained" = { begin = "pretrained" }
"masked autoencoder" = { begin = "autoencoder" }
"random weights" = { begin = "random" }
"head on frozen vectors" = { begin = "pretrained", frozen = true }

[differs]
score = { classes = ["lens", "galaxy"], hidden = 8 }
optimiser = { steps = 2, warmup = 1 }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan, painted shards with 12 lenses for training, and a finished run of the first stage."""
    folder = tmp_path_factory.mktemp("worth")
    (folder / "tiny-lens.toml").write_text((CONFIGS / "tiny.toml").read_text())
    (folder / "plan.toml").write_text(PLAN)
    shards, entries = folder / "shards", []
    shards.mkdir()
    for split, pairs in (("train", 12), ("validate", 12)):
        pixels = galaxies(2 * pairs, 3)
        pixels[::2, :, 12:16, 22:26] += 300
        columns = {"label": ["lens", "galaxy"] * pairs, "host": np.repeat(np.arange(pairs), 2)}
        some = {"painted": ("field_painted", pixels, columns), "plain": ("field", galaxies(16, 4), {})}
        for name, (source, cutouts, about) in some.items():
            parts = [Shard(cutouts, make_table(len(cutouts), **about))]
            entries.append(write_shard(shards, f"{split}-{name}", parts, {"source": source, "split": split}, window=40))
    write_manifest(shards, entries, seed=0, window=40)
    tiny = read(CONFIGS / "tiny.toml")
    pretrain(replace(tiny, optimiser=replace(tiny.optimiser, steps=2, warmup=1)), shards, folder / "first")
    return folder


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> LabelledWindows:
    """Stand in for the development lenses, which are not in the repository; the task that ranks them is real."""
    count, lenses = 40, 8
    flux = galaxies(count, 9)
    flux[:lenses, :, 12:16, 22:26] += 300
    windows = LabelledWindows(
        flux, np.arange(count) < lenses, np.arange(count) % 8.0, np.arange(count).astype(str), np.zeros(count, bool)
    )
    monkeypatch.setattr("training.evaluate.sets.load_lenses", lambda data, side: windows)
    return windows


def _grid(folder: Path, out: Path) -> list[worth.Cell]:
    plan, tables = worth.read(folder / "plan.toml")
    return worth.make_grid(plan, tables, worth.read_weights(folder / "first", folder / "first"), folder / "shards", out)


def test_cells_are_run_once_and_others_are_added(folder: Path, real: LabelledWindows, tmp_path: Path) -> None:
    def call(*more: str) -> str:
        given = ["--plan", folder / "plan.toml", "--shards", folder / "shards", "--data", folder, "--out", tmp_path]
        given += ["--pretrained", folder / "first", *more]
        done = CliRunner().invoke(cli, ["worth", *map(str, given)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    call("--seed", "1", "--lenses", "4", "--start", "random weights", "--start", "head on frozen vectors")
    cell = tmp_path / "head-on-frozen-vectors-4-seed-1"
    before = (cell / "measured.json").stat().st_mtime_ns
    output = call("--lenses", "4", "--start", "head on frozen vectors")
    assert (cell / "measured.json").stat().st_mtime_ns == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        "head-on-frozen-vectors-4-seed-0", "head-on-frozen-vectors-4-seed-1", "random-weights-4-seed-1",
    ]  # fmt: skip
    # The start whose weights are not given has no column; what was not run is a dash.
    table = [[text.strip() for text in line.split("|")[1:-1]] for line in output.splitlines() if line.startswith("|")]
    assert table[0] == ["measure", "painted lenses", "pre-trained", "random weights", "head on frozen vectors"]
    rows = {tuple(row[:2]): row[2:] for row in table[2:]}
    assert rows["AP", "12"] == ["-", "-", "-"]
    assert rows["AP", "4"][0] == "-"
    assert rows["AP", "4"][1].endswith("(1 of 2 seeds)")
    assert "±" in rows["AP", "4"][2]
    # The figures are those of the runs: scores of the checkpoint, before their calibration.
    trained = load(cell)
    assert trained.config.data.lenses == 4
    graph = trained.embedding()
    score = worth.LensScore(trained).score(real.flux)
    with torch.no_grad():
        calibrated = graph(torch.from_numpy(real.flux[:, 1:4, 4:36, 4:36]))[1][:, 0].numpy()
    assert graph.head is not None
    np.testing.assert_allclose(score * float(graph.head.slope) + float(graph.head.offset), calibrated, atol=1e-4)
    above = (score[~real.is_lens] >= score[real.is_lens][:, None]).sum(axis=1)
    ap = np.mean([(k + 1) / (k + 1 + rank) for k, rank in enumerate(np.sort(above))])
    of_seeds = json.loads((tmp_path / "worth.json").read_text())["starts"]["head on frozen vectors"]["4"]
    assert dict(zip(of_seeds["seeds"], of_seeds["measures"]["AP all"]["seeds"], strict=True))[1] == pytest.approx(
        ap, abs=1e-4
    )
    with Image.open(tmp_path / "worth.png") as figure:
        assert figure.width > 500


def test_the_table_is_the_mean_over_seeds_with_their_spread(folder: Path, tmp_path: Path) -> None:
    cells = _grid(folder, tmp_path)
    assert len(cells) == 4 * 2 * 2
    draws = np.linspace(-0.08, 0.08, 1000)
    for cell in cells:
        if (cell.start, cell.lenses) not in (("pre-trained", 12), ("random weights", 12)):
            continue
        value = 0.6 + 0.2 * cell.seed - (0.5 if cell.start == "random weights" else 0)
        estimates = {name: PairedEstimate.of(value, value + draws) for name in worth_report.MEASURES.values()}
        record = {
            "asked": cell.asked,
            "minutes": 1.0 + cell.seed,
            "results": store({worth.TASK: TaskResult(estimates)}),
        }
        cell.folder.mkdir()
        (cell.folder / "measured.json").write_text(json.dumps(record))
    text = worth_report.write_report(cells, tmp_path)
    assert "| AP | 12 | 0.700 [0.62, 0.78] ±0.14 | - | 0.200 [0.12, 0.28] ±0.14* | - |" in text
    assert "| AP | 4 | - | - | - | - |" in text
    assert "| minutes of a run | 12 | 1.5 | - | 1.5 | - |" in text
    document = json.loads((tmp_path / "worth.json").read_text())["starts"]
    assert document["pre-trained"]["12"]["measures"]["AP all"]["seeds"] == [0.6, 0.8]
    assert document["pre-trained"]["4"] is None
    # A result of an earlier version had a value and draws alone: the run is measured again.
    old = {worth.TASK: {"AP all": [0.5, [0.4, 0.6]]}}
    (cells[-1].folder).mkdir()
    (cells[-1].folder / "measured.json").write_text(json.dumps({"asked": cells[-1].asked, "results": old}))
    assert cells[-1].measured() is None
    # Cells of another plan are no part of this table.
    (folder / "other.toml").write_text(PLAN.replace("steps = 2", "steps = 3"))
    plan, tables = worth.read(folder / "other.toml")
    other = worth.make_grid(plan, tables, worth.read_weights(folder / "first", None), folder / "shards", tmp_path)
    with pytest.raises(ScannerError, match="another configuration") as bad:
        worth_report.average_seeds(other)
    assert bad.value.code == "run.other_config"


def test_weights_and_numbers_that_do_not_fit_the_question_are_refused(folder: Path, tmp_path: Path) -> None:
    """Weights that know painted lenses, an autoencoder that learned kinds, and more lenses than there are."""
    tiny, shards = read(CONFIGS / "tiny.toml"), folder / "shards"
    once = Optimiser(steps=1, batch=8, warmup=1)
    pretrain(replace(tiny, optimiser=once, objective=Objective(simulated=0.5)), shards, tmp_path / "kinds")
    with pytest.raises(ScannerError, match="no masked autoencoder alone"):
        worth.read_weights(None, tmp_path / "kinds")
    assert worth.read_weights(tmp_path / "kinds", None)["pretrained"].path == tmp_path / "kinds"
    cell = _grid(folder, tmp_path / "grid")[-1]
    pretrain(replace(cell.config, optimiser=once), shards, tmp_path / "scored", begin=folder / "first")
    with pytest.raises(ScannerError, match="trained on painted lenses already"):
        worth.read_weights(tmp_path / "scored", None)
    plan, tables = worth.read(folder / "plan.toml")
    more = worth.make_grid(replace(plan, lenses=(4, 13)), tables, {}, shards, tmp_path / "grid")
    with pytest.raises(ScannerError, match="asks for 13, and the painted shards hold 12"):
        next(worth.run(more, shards, None))  # type: ignore[arg-type]
    assert not list((tmp_path / "grid").glob("*")), "refused before the smaller ones are trained"


def test_the_shipped_plan_reads_and_all_starts_share_one_fine_tuning() -> None:
    plan, tables = worth.read()
    assert (plan.lenses, plan.seeds) == ((300, 1500, 5000, 20_000), (0, 1, 2))
    shipped = tomllib.loads((Path(training.__file__).with_name("configs") / "small-lens.toml").read_text())
    assert tables["score"] == shipped["score"]
    assert [start.begin for start in plan.starts.values()] == ["pretrained", "autoencoder", "random", "pretrained"]
    assert [start.frozen for start in plan.starts.values()] == [False, False, False, True]
