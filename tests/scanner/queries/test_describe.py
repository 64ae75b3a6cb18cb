"""What ``scanner info`` says of a catalogue, whatever state its files are in."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import catalogs
from catalogs.catalogue import Catalogue
from catalogs.index.build import build_index
from catalogs.maps.build import build_map
from catalogs.maps.read import MapSettings
from scanner.cli import main
from scanner.queries import describe
from tests.support import catalogue_rows
from tests.support.damage import damage_column, flip_bytes


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    """Three tiles of 100 objects, with an index and a map."""
    catalogue = catalogs.create(tmp_path_factory.mktemp("sound") / "embeddings", catalogue_rows.RUN)
    for number in range(3):
        ra, dec = np.linspace(10 + number, 10.4 + number, 100), np.linspace(30, 30.4, 100)
        catalogue_rows.write(catalogue, f"10{number}.240", catalogue_rows.make(100240 + number * 1000, ra, dec))
    build_index(catalogue)
    build_map(catalogue, MapSettings("pca"))
    return catalogue


@pytest.fixture
def folder(sound: Catalogue, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound.path, tmp_path / "embeddings"))


def info(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["info", "--catalog", str(folder), "-f", "json", *options])


def test_a_sound_catalogue_has_no_damage(folder: Path) -> None:
    facts = describe.catalogue(folder, verify=True)
    assert (facts["tiles"], facts["objects"], facts["objects_indexed"]) == (3, 300, 300)
    assert (facts["damaged"], facts["tiles_without_checksums"]) == ([], 0)
    assert info(folder, "--verify").exit_code == 0


def flip_middle(path: Path) -> None:
    middle = path.stat().st_size // 2
    flip_bytes(path, range(middle, middle + 1))


def put_file_in_place_of_folder(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("x")


UNSEEN: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "a page of a tile": ("tiles/101.240.parquet", lambda path: damage_column(path, "snr"), "tile.damaged"),
    "vectors of the index": ("index/*.f16", flip_middle, "index.damaged"),
    "rows of the index": ("index/*.rows.npy", flip_middle, "index.damaged"),
    "the engine's file": ("index/*.ann", flip_middle, "index.damaged"),
    "the folder of the index": ("index", put_file_in_place_of_folder, "index.damaged"),
    "the sample of a map": ("maps/pca/sample.parquet", flip_middle, "map.damaged"),
    "a tile of a map": ("maps/pca/tiles/101.240.parquet", flip_middle, "map.damaged"),
    "the description of a map": ("maps/pca/map.json", lambda path: path.write_text("[]"), "map.damaged"),
}


@pytest.mark.parametrize(("pattern", "damage", "code"), UNSEEN.values(), ids=UNSEEN)
def test_damage_of_any_file_is_listed_when_all_is_read(
    folder: Path, pattern: str, damage: Callable[[Path], Any], code: str
) -> None:
    [path] = folder.glob(pattern)
    damage(path)
    outcome = info(folder, "--verify")
    assert outcome.exit_code == 1
    assert [(one["code"], str(path) in one["message"]) for one in json.loads(outcome.stdout)["damaged"]] == [
        (code, True)
    ]
    # Without --verify the listing is one of what is there, and quick.
    assert info(folder).exit_code == 0


SEEN: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "a tile": ("tiles/101.240.parquet", lambda path: path.write_bytes(b"x"), "tile.damaged"),
    "a copy of a tile": ("tiles/101.240.parquet", lambda path: shutil.copy(path, f"{path}.parquet"), "tile.damaged"),
    "a sidecar": ("index/shard-00000.json", lambda path: path.unlink(), "index.no_sidecar"),
    "an index of other vectors": (
        "index/shard-00000.json",
        lambda path: path.write_text(path.read_text().replace('"dim": 16', '"dim": 17')),
        "index.dimension",
    ),
}


@pytest.mark.parametrize(("pattern", "damage", "code"), SEEN.values(), ids=SEEN)
def test_what_cannot_be_used_is_listed_and_the_rest_described(
    folder: Path, pattern: str, damage: Callable[[Path], Any], code: str
) -> None:
    [path] = folder.glob(pattern)
    damage(path)
    outcome = info(folder)
    facts = json.loads(outcome.stdout)
    assert outcome.exit_code == 0
    assert [one["code"] for one in facts["damaged"]] == [code]
    assert facts["objects"] in (200, 300)
    assert info(folder, "--verify").exit_code == 1


def test_a_catalogue_without_any_tile_is_described(folder: Path) -> None:
    shutil.rmtree(folder / "tiles")
    (folder / "failures").write_text("x")
    facts = json.loads(info(folder).stdout)
    assert (facts["tiles"], facts["objects"], facts["failures"]) == (0, 0, [])


def test_files_that_vanish_meanwhile_do_not_bring_it_down(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan that runs renames its temporaries between the listing of a folder and a look at its files."""
    before = describe.catalogue(folder)["bytes"]
    walk = os.walk

    def with_temporaries(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        yield from (
            (parent, folders, [*names, ".103.240.parquet.0123456789ab.tmp"]) for parent, folders, names in walk(top)
        )

    monkeypatch.setattr(os, "walk", with_temporaries)
    assert describe.catalogue(folder)["bytes"] == before


def _dead_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [_dead_link, os.mkfifo, Path.touch])
@pytest.mark.parametrize("name", ["maps", "maps/pca/map.json"])
def test_what_stands_in_the_place_of_a_map_is_listed(folder: Path, name: str, make: Callable[[Path], None]) -> None:
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    make(path)
    outcome = info(folder, "--verify")
    assert outcome.exit_code == 1, outcome.output
    (damage,) = json.loads(outcome.stdout)["damaged"]
    assert damage["code"].startswith("map.")


def test_a_catalogue_without_maps_has_no_damage(folder: Path) -> None:
    shutil.rmtree(folder / "maps")
    assert info(folder, "--verify").exit_code == 0
    (folder / "maps" / "umap").mkdir(parents=True)  # of a run that was killed
    assert info(folder, "--verify").exit_code == 0
