"""Residual views: the galaxy in the middle goes, arcs, rings and missing pixels stay, and copies are made once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from catalogs.records import load_json
from studies.training.__main__ import cli
from studies.training.residuals import compare, make_residual_shards, remove_light
from tests.training.conftest import CONFIGS, galaxies
from training.config import read
from training.cutouts.shards import Shard, damaged_files, make_table, write_manifest, write_shard
from training.evaluate.sets.lenses import LabelledWindows
from training.loop.pretrain import pretrain

SIDE = 65
Y, X = np.indices((SIDE, SIDE)) - SIDE // 2


def _galaxy(q: float = 1.0, angle: float = 0.0) -> np.ndarray:
    """An exponential disc of 1,000 nJy in its brightest pixel, five bands."""
    along, across = X * np.cos(angle) + Y * np.sin(angle), Y * np.cos(angle) - X * np.sin(angle)
    image = 1000 * np.exp(-np.hypot(along * np.sqrt(q), across / np.sqrt(q)) / 3)
    return np.repeat(image[None, None].astype(np.float32), 5, axis=1)


@pytest.mark.parametrize(("q", "angle"), [(1.0, 0.0), (0.6, 0.7)])
def test_light_of_the_galaxy_goes(q: float, angle: float) -> None:
    left = remove_light(_galaxy(q, angle))
    assert np.abs(left).sum() < 0.15 * _galaxy(q, angle).sum()
    assert np.abs(left[0, 0][np.hypot(X, Y) > 8]).max() < 20, "a fiftieth of the middle where arcs are"


@pytest.mark.parametrize("arc", ["arc", "ring"])
def test_arc_stays(arc: str) -> None:
    is_arc = np.abs(np.hypot(X, Y) - 12) < 1.5
    if arc == "arc":
        is_arc &= X > 6
    left = remove_light(_galaxy() + np.where(is_arc, 80, 0).astype(np.float32))[0, 2]
    assert np.median(left[is_arc]) > 60


def test_missing_pixels_stay_missing() -> None:
    flux = _galaxy()
    flux[0, 1], flux[0, 2, :10] = np.nan, np.nan
    left = remove_light(flux)
    assert np.array_equal(np.isnan(left), np.isnan(flux))
    assert np.isnan(remove_light(np.full_like(flux, np.nan))).all()
    assert remove_light(flux[:0]).shape == flux[:0].shape


@pytest.fixture
def painted(tmp_path: Path) -> Path:
    shards, entries = tmp_path / "painted", []
    shards.mkdir()
    for split in ("train", "validate"):
        pixels = galaxies(24, 3)
        pixels[::2, :, 12:16, 22:26] += 300
        columns = {"label": ["lens", "galaxy"] * 12, "host": np.repeat(np.arange(12), 2)}
        some = {"painted": ("field_painted", pixels, columns), "plain": ("field", galaxies(16, 4), {})}
        for name, (source, cutouts, about) in some.items():
            parts = [Shard(cutouts, make_table(len(cutouts), **about))]
            entries.append(write_shard(shards, f"{split}-{name}", parts, {"source": source, "split": split}, window=40))
    write_manifest(shards, entries, seed=0, window=40)
    return shards


def test_copies_differ_in_pixels_alone_and_are_made_once(painted: Path, tmp_path: Path) -> None:
    out = tmp_path / "residual"
    make_residual_shards(painted, out)
    before, after = load_json(painted / "manifest.json"), load_json(out / "manifest.json")
    assert [entry["split"] for entry in after["shards"]] == [entry["split"] for entry in before["shards"]]
    assert not damaged_files(out)
    pixels = np.load(painted / "train-painted.npy")
    assert np.array_equal(np.load(out / "train-painted.npy"), remove_light(pixels), equal_nan=True)
    stamp = (out / "train-painted.npy").stat().st_mtime_ns
    make_residual_shards(painted, out)
    assert (out / "train-painted.npy").stat().st_mtime_ns == stamp


def test_command_trains_both_and_joins_them(painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flux = galaxies(40, 9)
    flux[:8, :, 12:16, 22:26] += 300
    windows = LabelledWindows(
        flux, np.arange(40) < 8, np.arange(40) % 8.0, np.arange(40).astype(str), np.zeros(40, bool)
    )
    monkeypatch.setattr("studies.training.residuals.load_lenses", lambda data, side: windows)
    base = read(CONFIGS / "tiny.toml")
    short = replace(base, optimiser=replace(base.optimiser, steps=2, warmup=1))
    pretrain(short, painted, tmp_path / "begin")
    lens = replace(short, score=replace(base.score, classes=("lens", "galaxy"), hidden=8))
    found = dict(compare(lens, painted, tmp_path / "begin", tmp_path, tmp_path / "out"))
    assert list(found) == ["as they are", "residual", "both"]
    values = [results["lens-score"].estimates["AP all"].value for results in found.values()]
    assert len(set(values)) == 3, "three rankings"
    assert "--begin" in CliRunner().invoke(cli, ["residuals", "--help"]).output
