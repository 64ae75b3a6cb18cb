"""Simulated scenes and survey tiles become cutouts that know what they show."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import scanner
from scanner.sources import DETECTION_VERSION
from scanner.survey import survey, tile_list
from training.__main__ import cli
from training.cutouts import production
from training.cutouts.cutting import cut
from training.cutouts.selection import Rule
from training.cutouts.simulated import plate, scene_tasks
from training.simulate.conditions import Settings
from training.simulate.scene import Scene, simulate_tile
from training.simulate.write import write_tile


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_tile(
        "217.292", seed=3, settings=Settings(size=320, lens_fraction=0.4, faintest=24.0, missing_band=0)
    )


def test_every_bright_lens_is_cut_and_labelled(scene: Scene) -> None:
    shard = next(cut(plate(scene), Rule(), seed=0))
    label, theta = np.array(shard.table["label"]), np.array(shard.table["theta_e"])
    lenses = scene.truth[(scene.truth["label"] == "lens") & (scene.truth["mag_r"] < 22.5)]
    assert len(lenses) >= 3
    assert (label == "lens").sum() >= 0.7 * len(lenses)  # some are blended with a brighter neighbour
    assert set(np.round(theta[label == "lens"], 4)) <= set(np.round(scene.truth["theta_e"], 4).astype(np.float32))
    assert np.isnan(theta[label != "lens"]).all()


def test_scenes_of_both_splits_never_share_a_tile() -> None:
    tasks = scene_tasks(number=200, size=512, seed=0)
    tiles = {
        split: {tile for task in tasks if task.split == split for tile in task.tiles} for split in ("train", "validate")
    }
    assert len(tiles["train"]) + len(tiles["validate"]) == 200
    assert not tiles["train"] & tiles["validate"]
    assert 8 <= len(tiles["validate"]) <= 24


def test_shards_are_made_again_when_detection_changes() -> None:
    unions = survey.load("unions")
    demo = tile_list.find(unions, "217.292", Path(scanner.__file__).parent / "demo")
    for task in (
        *scene_tasks(number=1, size=512, seed=0),
        production.TileTask(unions, demo, 0),
        production.FieldTask("kids_viking", "train", (), 0),
    ):
        assert task.detection == DETECTION_VERSION
        assert production.digest(replace(task, detection=DETECTION_VERSION + 1)) != production.digest(task)


def test_files_of_a_tile_give_the_cutouts_of_its_scene(scene: Scene, tmp_path: Path) -> None:
    """The way through FITS files, HDUs, masks and zero points changes no flux by more than 1e-5 of it."""
    write_tile(scene, tmp_path / "sky")
    (tmp_path / "list.txt").write_text("217.292\n")
    arguments = [
        "cutouts",
        str(tmp_path / "out"),
        "--tiles",
        str(tmp_path / "list.txt"),
        "--root",
        str(tmp_path / "sky"),
    ]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [(entry["file"], entry["source"]) for entry in manifest["shards"]] == [("unions-217.292.npy", "unions")]
    table = pq.read_table(tmp_path / "out/unions-217.292.parquet").to_pylist()
    objects = [row for row in table if row["kind"] == "object"]
    direct = next(cut(plate(scene), Rule(least=1.0, stars=0.9), seed=0))
    places = {(round(row["x"]), round(row["y"])): index for index, row in enumerate(direct.table.to_pylist())}
    cutouts = np.load(tmp_path / "out/unions-217.292.npy")
    pairs = [
        (cutouts[index], direct.pixels[places[place]])
        for index, row in enumerate(table)
        if row["kind"] == "object" and (place := (round(row["x"]), round(row["y"]))) in places
    ]
    assert len(pairs) > 0.8 * len(objects) > 5
    for got, expected in pairs:
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-3)


def test_a_line_that_is_no_tile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("no such tile\n")
    result = CliRunner().invoke(cli, ["cutouts", str(tmp_path / "out"), "--tiles", str(tmp_path / "list.txt")])
    assert result.exception is not None
    assert not (tmp_path / "out" / "manifest.json").exists()
