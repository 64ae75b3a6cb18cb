"""Evaluation as a command: one table from two kinds of model, JSON and figures; a wrong question is an error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from catalogs.errors import ScannerError
from catalogs.estimate import DRAWS, PairedEstimate, estimate_paired_share
from tests.support import tiny_encoder
from training.cli.evaluate import evaluate_command
from training.evaluate import report
from training.evaluate.results import TaskResult, average_seeds
from training.evaluate.run import Bench
from training.evaluate.statistics.estimates import estimate_auc


def estimate(value: float) -> PairedEstimate:
    return PairedEstimate.of(value, value + np.repeat([-0.1, 0.1], DRAWS // 2))


def test_the_table_has_a_row_a_measure_under_its_task_and_a_column_a_model() -> None:
    mine = {
        "retrieval": TaskResult({"mAP": estimate(0.5), "P@10": estimate(0.4)}),
        "galaxy": TaskResult({"AUC": estimate(0.9)}),
    }
    text = report.table({"mine": mine, "other": {"retrieval": TaskResult({"mAP": estimate(0.7)})}})
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[1:6]] == ["retrieval", "mAP", "P@10", "galaxy", "AUC"]
    assert "0.500 [0.40, 0.60]" in lines[2]
    assert lines[2].endswith("0.700 [0.60, 0.80]*")  # better by 0.2 in every draw
    assert lines[3].endswith("-")


def test_seeds_become_one_column_with_their_spread() -> None:
    seeds = [{"retrieval": TaskResult({"mAP": estimate(v)}, {"asked": np.array([v])})} for v in (0.3, 0.5)]
    joined = average_seeds(seeds)["retrieval"]
    assert joined.curves["asked"].tolist() == [0.4]
    assert "0.400 [0.30, 0.50] ±0.14" in report.table({"random": {"retrieval": joined}})


def test_a_card_can_quote_what_was_written(tmp_path: Path) -> None:
    results = {"mine": {"retrieval": TaskResult({"mAP": estimate(0.5)}, {"asked": np.linspace(0, 1, 20)})}}
    report.write(results, {"side": 64}, tmp_path)
    assert "| retrieval | mAP | 0.500 [0.40, 0.60] |" in report.card_table(tmp_path / "evaluation.json")
    assert json.loads((tmp_path / "evaluation.json").read_text())["about"] == {"side": 64}
    assert {path.name for path in tmp_path.iterdir()} == {
        "evaluation.json", "evaluation.md", "evaluation.png", "retrieval.png",
    }  # fmt: skip
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(ScannerError) as caught:
        report.card_table(tmp_path / "other.json")
    assert caught.value.code == "evaluate.no_table"


def test_rows_of_shares_and_areas_tell_how_many_objects_they_are_of(tmp_path: Path) -> None:
    """A bootstrap whose draws all agree has no interval; names in the JSON are those of the measures."""
    perfect = estimate_auc(np.array([3.0, 2, 1, 0]), np.arange(4) < 2)
    measures = {"above: star": estimate_paired_share(np.zeros(4)), "AUC painted: star": perfect, "mAP": estimate(0.5)}
    report.write({"mine": {"look-alikes": TaskResult(measures)}}, {}, tmp_path)
    lines = [
        "| look-alikes | above: star (n = 4) | 0.000 [0.00, 0.49] |",
        "| look-alikes | AUC painted: star (n = 2 + 2) | 1.000 [-] |",
        "| look-alikes | mAP | 0.500 [0.40, 0.60] |",
    ]
    written, quoted = (tmp_path / "evaluation.md").read_text(), report.card_table(tmp_path / "evaluation.json")
    assert [line for line in written.splitlines() if line in lines] == lines
    assert [line for line in quoted.splitlines() if line in lines] == lines
    stored = json.loads((tmp_path / "evaluation.json").read_text())["models"]["mine"]["look-alikes"]["measures"]
    assert {name: one.get("n") for name, one in stored.items()} == {
        "above: star": [4], "AUC painted: star": [2, 2], "mAP": None,
    }  # fmt: skip


@pytest.mark.shared("retrieval of 48 lenses among 916 galaxies, and one galaxy in several surveys")
def test_an_encoder_and_baselines_in_one_table(shared_data: Path, tmp_path: Path) -> None:
    """The whole command on real lenses, with a network of random weights as the encoder."""
    model = tiny_encoder.write(tmp_path / "tiny" / "encoder.onnx", tiny_encoder.contract())
    done = CliRunner().invoke(
        evaluate_command,
        [str(model), "--data", str(shared_data), "--tasks", "retrieval,surveys", "--baselines", "magnitude",
         "--short", "8", "--out", str(tmp_path / "out")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    models = json.loads((tmp_path / "out" / "evaluation.json").read_text())["models"]
    assert list(models) == ["tiny", "tiny, first 8", "magnitude"]
    alone = models["magnitude"]["retrieval"]["measures"]["mAP matched"]["value"]
    assert alone == pytest.approx(0.25, abs=0.05)  # three negatives of equal magnitude for each lens
    assert models["magnitude"]["surveys"]["measures"]["one galaxy first of 47"]["value"] < 0.5


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScannerError) as caught:
        Bench(tmp_path, ["beauty"])
    assert caught.value.code == "evaluate.no_task"
    wide = tiny_encoder.write(tmp_path / "wide.onnx", tiny_encoder.contract(window=64))
    with pytest.raises(ScannerError) as caught:
        Bench(tmp_path, ["retrieval"], side=32).measure(wide)
    assert caught.value.code == "evaluate.window"
    with pytest.raises(ScannerError) as caught:
        Bench(tmp_path, ["galaxy"]).measure("magnitude")
    assert caught.value.code == "evaluate.no_data"
