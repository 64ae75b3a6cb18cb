"""Shards: what the manifest promises is in the files, and unfinished work is never taken for finished."""

from __future__ import annotations

import json
import os
import signal
import tracemalloc
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from catalogs.errors import ScannerError
from scanner.images.sky.wcs import flat_wcs
from scanner.images.tile_images import TileImages
from scanner.survey.bands import BANDS
from training.cutouts import cutting, production, shards
from training.cutouts.cutting import Plate, cut
from training.cutouts.selection import Rule
from training.cutouts.shards import Shard


def blobs(name: str, seed: int, size: int = 200) -> Plate:
    """Eight round galaxies on noise in u g r i, z missing."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    flux = random.normal(0, 1, (5, size, size))
    for _ in range(8):
        where, width = random.uniform(10, size - 10, 2), random.uniform(3, 6)
        flux += 60 * np.exp(-((x - where[0]) ** 2 + (y - where[1]) ** 2) / 2 / width**2)
    flux[4] = np.nan
    wcs = flat_wcs((size, size), 0.18577)
    images = TileImages.of(name, BANDS, flux.astype(np.float32), (wcs,) * 4 + (None,), 0.18577, detection_band="r")
    return Plate("made_up", images, seeing=0.7, sky=False)


RULE = Rule()


@dataclass(frozen=True)
class Blobs:
    """A task that other processes can make, and that can be told to fail, or to kill the process that makes it."""

    name: str
    seed: int
    fails: bool = False
    dies: bool = False
    window: int = shards.WINDOW
    source: str = "made_up"
    split: str = "train"

    def parts(self) -> Iterator[Shard]:
        if self.fails:
            raise ScannerError("tile.truncated", "The disk went away.")
        for plate in (blobs(self.name, self.seed), blobs(f"{self.name}b", self.seed + 100)):
            yield from cut(replace(plate, window=self.window), RULE, self.seed)
            if self.dies:
                os.kill(os.getpid(), signal.SIGKILL)


TASKS = [Blobs(f"s{number}", number) for number in range(3)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    production.produce(folder, TASKS, seed=0)
    return folder


def test_the_manifest_says_what_the_files_hold(made: Path) -> None:
    manifest = json.loads((made / "manifest.json").read_text())
    assert (manifest["bands"], manifest["window"], manifest["unit"]) == (list("ugriz"), 80, "nJy")
    for entry in manifest["shards"]:
        pixels = np.load(made / entry["file"], mmap_mode="r")
        table = pq.read_table((made / entry["file"]).with_suffix(".parquet"))
        assert pixels.shape == (entry["rows"], 5, 80, 80)
        assert pixels.dtype == np.float32
        assert len(table) == entry["rows"] > 10
        assert table.schema.equals(shards.SCHEMA)
        assert np.isnan(pixels[:, 4]).all()


def test_windows_are_centred_on_their_objects(made: Path) -> None:
    pixels = np.load(made / "s0.npy")
    table = pq.read_table(made / "s0.parquet")
    whole = (np.array(table["kind"]) == "object") & (np.array(table["band_fraction"]) > 0.99)
    centre = pixels[whole][:, 2, 38:42, 38:42].mean(axis=(1, 2))
    assert whole.any()
    assert (centre > np.nanmedian(pixels[whole][:, 2], axis=(1, 2)) + 20).all()


def test_some_cutouts_show_a_random_spot(made: Path) -> None:
    kinds = np.concatenate([np.array(pq.read_table(path)["kind"]) for path in made.glob("*.parquet")])
    assert 0 < (kinds == "sky").mean() < 0.2


def test_a_changed_byte_is_noticed(made: Path, tmp_path: Path) -> None:
    for name, content in contents(made).items():
        (tmp_path / name).write_bytes(content)
    assert shards.damaged_files(tmp_path) == []
    with (tmp_path / "s1.npy").open("r+b") as stream:
        stream.seek(5000)
        stream.write(b"\x07")
    assert shards.damaged_files(tmp_path) == ["s1.npy"]


def test_any_number_of_workers_gives_the_same_bytes(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    production.produce(tmp_path, TASKS, seed=0, workers=2)
    assert contents(tmp_path) == contents(made)
    # What is started later in this process has all threads that it wants.
    assert dict(os.environ) == before


def test_an_interrupted_production_ends_as_an_undisturbed_one(made: Path, tmp_path: Path) -> None:
    broken = [*TASKS[:1], Blobs("s1", 1, fails=True), TASKS[2]]
    with pytest.raises(ScannerError):
        production.produce(tmp_path, broken, seed=0)
    assert not (tmp_path / "manifest.json").exists()
    (tmp_path / "s1.npy").write_bytes((made / "s1.npy").read_bytes()[:1000])  # killed while it wrote pixels
    (tmp_path / ".s1.npy.0123456789ab.tmp").write_bytes(b"half a file")
    before = (tmp_path / "s0.npy").stat().st_mtime_ns
    production.produce(tmp_path, TASKS, seed=0)
    assert contents(tmp_path) == contents(made)
    assert (tmp_path / "s0.npy").stat().st_mtime_ns == before


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    with pytest.raises(BrokenProcessPool):
        production.produce(tmp_path, [Blobs("s1", 1, dies=True)], seed=0, workers=2)
    assert list(tmp_path.iterdir()) == []


def test_a_shard_that_answers_another_question_is_made_again(made: Path, tmp_path: Path) -> None:
    production.produce(tmp_path, [Blobs("s0", 5)], seed=0)
    production.produce(tmp_path, TASKS, seed=0)
    assert contents(tmp_path) == contents(made)


def test_shards_of_another_seed_are_not_replaced(tmp_path: Path) -> None:
    """Somebody may be training on them."""
    production.produce(tmp_path, TASKS[:1], seed=0)
    before = contents(tmp_path)
    with pytest.raises(ScannerError) as caught:
        production.produce(tmp_path, [Blobs("s0", 5)], seed=5)
    assert caught.value.code == "shards.other_seed"
    assert "--seed 0" in caught.value.hint
    assert contents(tmp_path) == before


def test_larger_cutouts_show_the_same_objects_and_do_not_mix(made: Path, tmp_path: Path) -> None:
    tasks = [replace(task, window=104) for task in TASKS]
    production.produce(tmp_path, tasks, seed=0, window=104)
    assert json.loads((tmp_path / shards.MANIFEST).read_text())["window"] == 104
    large, small = (np.load(folder / "s0.npy") for folder in (tmp_path, made))
    assert large.shape[2:] == (104, 104)
    places = [
        pq.read_table(folder / "s0.parquet", columns=["frame", "x", "y"]).to_pylist() for folder in (tmp_path, made)
    ]
    both = [(at, places[1].index(place)) for at, place in enumerate(places[0]) if place in places[1]]
    assert len(both) > 5
    for one, other in both:
        np.testing.assert_allclose(large[one, :, 12:92, 12:92], small[other], atol=1e-4)
    with pytest.raises(ScannerError, match="pixel scale or window"):
        production.produce(tmp_path, TASKS, seed=0)
    assert json.loads((tmp_path / shards.MANIFEST).read_text())["window"] == 104


def test_another_command_adds_to_the_folder(made: Path, tmp_path: Path) -> None:
    production.produce(tmp_path, TASKS[1:], seed=0)
    production.produce(tmp_path, TASKS[:1], seed=0)
    assert contents(tmp_path) == contents(made)


ABOUT = {"source": "x", "split": "train", "task": "t"}


def test_a_shard_without_cutouts_is_a_shard(tmp_path: Path) -> None:
    entry = shards.write_shard(tmp_path, "none", [], ABOUT, window=104)
    assert entry["rows"] == 0
    assert shards.finished_entry(tmp_path, "none", "t") == entry
    assert np.load(tmp_path / "none.npy").shape == (0, 5, 104, 104)


def test_small_parts_make_the_same_bytes_as_one(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "AT_ONCE", 3)
    sizes = [len(part.pixels) for part in TASKS[0].parts()]
    assert max(sizes) == 3
    production.produce(tmp_path, TASKS, seed=0)
    assert contents(tmp_path) == contents(made)
    np.save(tmp_path / "whole.npy", np.load(tmp_path / "s0.npy"))
    assert (tmp_path / "whole.npy").read_bytes() == (tmp_path / "s0.npy").read_bytes()


def test_memory_is_that_of_a_part_not_of_the_shard(tmp_path: Path) -> None:
    """60 parts of 2 MB."""

    def parts() -> Iterator[Shard]:
        for number in range(60):
            yield Shard(np.full((16, 5, 80, 80), number, np.float32), shards.make_table(16, frame=str(number)))

    tracemalloc.start()
    try:
        entry = shards.write_shard(tmp_path, "many", parts(), ABOUT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert entry["rows"] == 960
    assert peak < 8e6
    assert np.load(tmp_path / "many.npy", mmap_mode="r")[-1, 0, 0, 0] == 59
