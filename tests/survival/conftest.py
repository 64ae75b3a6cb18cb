"""The commands that are ended, each with the output that it makes undisturbed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import catalogs
from catalogs.index import build as index
from tests.support import catalogue_rows, small_tiles, survival, tiny_encoder
from tests.support.survival import Command, Nursery

NAMES = small_tiles.names(12)
READERS = {"scan": 0, "scan with a reader": 1}
SHARD_ROWS = 1000


@dataclass(frozen=True)
class Undisturbed:
    """What a command makes in peace: its files, the names of all files beside them, and the seconds it took."""

    files: dict[str, bytes]
    names: list[str]
    size: int
    seconds: float


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """The process that forks commands, in which torch, timm and onnx cannot be imported."""
    blocked = tmp_path_factory.mktemp("blocked")
    for name in ("torch", "torchvision", "timm", "onnx"):
        (blocked / f"{name}.py").write_text(f"raise ImportError('{name} is blocked')\n")
    path = os.pathsep.join([str(blocked), str(survival.REPOSITORY)])
    with Nursery(tmp_path_factory.mktemp("nursery"), {"PYTHONPATH": path}) as made:
        yield made


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small tiles in g and r, and the list of them."""
    made = tmp_path_factory.mktemp("unions")
    for name in NAMES:
        small_tiles.write(made, name, size=120, objects=8, bands="gr")
    (made / "list.txt").write_text("\n".join(NAMES))
    return made


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder.write(tmp_path_factory.mktemp("model") / "encoder.onnx", tiny_encoder.contract())


@pytest.fixture(scope="session")
def scan(folder: Path, model: Path) -> list[object]:
    """The words of a scan of the list, but for its output and readers."""
    words = ["scan-tiles", "--tiles", folder / "list.txt", "--root", folder, "--model", model, "--device", "cpu"]
    return [*words, "--format", "json"]


def make_catalogue(folder: Path) -> Path:
    """Make a catalogue of six tiles whose index, of three shards, is older than one tile and lacks another."""
    made = catalogs.create(folder / "out", catalogue_rows.RUN)
    rng = np.random.default_rng(7)
    for number in range(6):
        ra, dec = (359 + 0.5 * number + rng.uniform(0, 0.5, 500)) % 360, 30 + rng.uniform(0, 0.5, 500)
        catalogue_rows.write(made, f"10{number}.240", catalogue_rows.make(100 + number, ra, dec))
    assert len(index.build_index(made, index.IndexOptions(shard_rows=SHARD_ROWS)).built) == 3
    for number, count in ((102, 450), (300, 900)):
        ra = np.linspace(0, 0.4, count)
        catalogue_rows.write(made, f"{number}.240", catalogue_rows.make(number, ra, 30 + ra))
    return folder


@pytest.fixture(scope="session")
def commands(scan: list[object], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Command]:
    catalogue = make_catalogue(tmp_path_factory.mktemp("catalogue"))
    tiles = "out/tiles/*.parquet"
    indexed = ["index", "--shard-rows", SHARD_ROWS, "--catalog"]
    published = ["--catalog", catalogue / "out", "--rows-per-file", 450]
    mapped = ["map", "--method", "pca", "--sample", 500, "--catalog"]
    made = {
        name: Command(lambda at, readers=readers: [*scan, "--readers", readers, "--out", at / "out"], tiles, tiles)  # type: ignore[misc]
        for name, readers in READERS.items()
    }
    made["index"] = Command(
        lambda at: [*indexed, at / "out"],
        "out/index/shard-*",
        "out/index/shard-0000[02]-*",
        between="*/shard-*.json",
        start=catalogue,
    )
    made["publish"] = Command(
        lambda at: ["publish", at / "archive", *published],
        "*archive*/**/*",
        ".archive.partial/collection/unions/dataset/**/*.parquet",
        between=".archive.partial/*",
    )
    made["map"] = Command(
        lambda at: [*mapped, at / "out"], "out/maps/pca/**/*", "out/maps/pca/tiles/*", start=catalogue
    )
    return made


@pytest.fixture(scope="session")
def undisturbed(
    commands: dict[str, Command], nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Undisturbed]:
    """``undisturbed(command)``, made once."""
    made: dict[str, Undisturbed] = {}

    def make(name: str) -> Undisturbed:
        if name not in made:
            at = commands[name].begin(tmp_path_factory.mktemp("peace"))
            began = time.monotonic()
            done = nursery.run(commands[name].words(at))
            seconds = time.monotonic() - began
            assert done.code == 0, done.err
            made[name] = Undisturbed(commands[name].made(at), survival.names(at), survival.room(at), seconds)
        return made[name]

    return make
