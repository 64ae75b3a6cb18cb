"""Painted shards: pairs of the same host with and without a lens, so that no host gives a lens away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold, cross_val_predict

from scanner.sources.sources import detect
from training.__main__ import main
from training.cutouts import production
from training.cutouts.painted import PaintTask, _Painter, paint_tasks
from training.cutouts.simulated import SceneTask
from training.evaluate.statistics.estimates import estimate_auc
from training.simulate.canvas import Canvas
from training.simulate.conditions import Settings
from training.simulate.painting import lookalike
from training.simulate.painting.field import measure_conditions

SCENE = SceneTask("scene", ("217.292",), Settings(size=620, gaps=0, missing_band=0), seed=4)
TASK = PaintTask(SCENE, paintings=3.0)


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("painted")
    production.produce(folder, [TASK], seed=4)
    return folder


def test_every_lens_has_its_host_beside_it(painted: Path) -> None:
    """The two differ by light alone, in the middle of the window."""
    table = pq.read_table(painted / f"{TASK.name}.parquet").to_pandas()
    pixels = np.load(painted / f"{TASK.name}.npy")
    lenses = np.flatnonzero(table.label == "lens")
    assert len(lenses) > 5
    for row in lenses:
        assert table.label[row + 1] == "galaxy"
        assert table.host[row] == table.host[row + 1]
        light = np.nan_to_num(pixels[row] - pixels[row + 1])
        assert light.sum() > 0
        assert np.array_equal(np.isfinite(pixels[row]), np.isfinite(pixels[row + 1]))
    assert (table.theta_e[lenses] > 0.5).all()
    assert table.theta_e[table.label != "lens"].isna().all()
    assert set(table.label) <= {"lens", "galaxy", *lookalike.SHARES}
    assert (table.host[table.label.isin(lookalike.ON_SKY)] == -1).all()


def test_nothing_of_a_host_tells_that_a_lens_was_painted_on_it(painted: Path) -> None:
    """A forest on magnitude, colour and size, tested on other hosts, has an AUC of one half."""
    table = pq.read_table(painted / f"{TASK.name}.parquet").to_pandas()
    pairs = table[table.label.isin(["lens", "galaxy"])]
    looks = np.nan_to_num(np.column_stack([pairs.mag, pairs.mag_r, pairs.mag - pairs.mag_r, pairs.flux_radius]))
    is_lens = (pairs.label == "lens").to_numpy()
    model = RandomForestClassifier(50, random_state=0)
    cv = GroupKFold(3).split(looks, is_lens, pairs.host)
    odds = cross_val_predict(model, looks, is_lens, cv=cv, method="predict_proba")[:, 1]
    assert estimate_auc(odds, is_lens).value == pytest.approx(0.5, abs=1e-9)


def test_a_task_gives_the_same_bytes_again(painted: Path, tmp_path: Path) -> None:
    production.produce(tmp_path, [TASK], seed=4)
    name = f"{TASK.name}.npy"
    assert (tmp_path / name).read_bytes() == (painted / name).read_bytes()
    assert production.digest(TASK) != production.digest(replace(TASK, paintings=4.0))


def test_images_that_are_not_painted_on() -> None:
    """A globular cluster has no hosts: fields.toml says so, and no task paints on it."""
    tasks = paint_tasks([SCENE, replace(SCENE, name="cluster", paint=0.0)], 2.0, None)
    assert [task.name for task in tasks] == ["scene-painted"]


def test_paint_needs_images(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["training", "cutouts", str(tmp_path), "--paint", "3"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "--fields, --simulate" in capsys.readouterr().err


def test_a_bright_middle_is_seen_in_a_window_of_any_side() -> None:
    """The middle is 20 px wide: in a smaller window it is the whole of it, whose first pixel is not negative."""
    plate = next(replace(SCENE, settings=replace(SCENE.settings, size=64)).plates())
    sources = detect(plate.images)
    for side in (8, 12, 19, 20, 48):
        canvas = Canvas(side, measure_conditions(plate.images, sources, 0.7))
        painter = _Painter(replace(plate, window=side), canvas, (), np.random.default_rng(0))
        window = np.zeros((5, side, side), np.float32)
        assert painter._is_clear(window)
        window[:, side // 2, side // 2] = 1e4
        assert not painter._is_clear(window)
