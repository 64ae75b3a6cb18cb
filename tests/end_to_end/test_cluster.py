"""``scanner scan-tiles --workers``: exit codes, rows and signals are those of a scan on one machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("distributed")

import catalogs
from tests.end_to_end.conftest import Scanner
from tests.support import catalogue_rows, small_tiles
from tests.support.waiting import until

REPOSITORY = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to see the processes"),
]


def group(leader: int) -> set[int]:
    """Processes of a process group that are alive."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = stat.read_text().rpartition(") ")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(pgrp) == leader and state != "Z":
            found.add(int(stat.parent.name))
    return found


SLOWLY = """
import time
from pathlib import Path
def slowly(self, target, rename=Path.replace):
    done = rename(self, target)
    time.sleep(0.5 if Path(target).suffix == ".parquet" else 0)
    return done
Path.replace = slowly
"""
"""A worker rests after every tile, so that there is work left when it is disturbed."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_and_then_the_same_command_again(
    scanner: Scanner, no_torch: dict[str, str], model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C at a terminal reaches the workers too, as does what SLURM says at the end of a job."""
    names = small_tiles.names(40)
    for name in names:
        small_tiles.write(tmp_path / "unions", name, size=200, objects=10, bands="r")
    spoilt = small_tiles.band_file(tmp_path / "unions", names[5], "r")
    spoilt.write_bytes(spoilt.read_bytes()[:9000])
    (tmp_path / "list.txt").write_text("\n".join(names))
    out = tmp_path / "out"
    command = ["scan-tiles", "--tiles", tmp_path / "list.txt", "--root", tmp_path / "unions", "--model", model]
    command += ["--out", out, "--workers", 2, "--readers", 0, "--device", "cpu", "--format", "json"]

    (tmp_path / "slowly.py").write_text(SLOWLY)
    process = subprocess.Popen(
        [sys.executable, "-c", "from scanner.cli import main; main()", *map(str, command)],
        env={**no_torch, "DASK_DISTRIBUTED__WORKER__PRELOAD": str(tmp_path / "slowly.py")},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: process.poll() is not None or list((out / "tiles").glob("[!.]*.parquet")))
    os.killpg(process.pid, number)
    stdout, stderr = process.communicate()
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert "exited" not in stderr
    until(lambda: not group(process.pid))
    kept = {path.name: path.read_bytes() for path in (out / "tiles").glob("*.parquet")}
    assert kept
    assert not list(out.rglob("*.tmp"))

    done = scanner(*command)
    assert done.code == 3, done.err
    report = json.loads(done.out)
    assert (report["done"], report["failed"], report["skipped"]) == (len(names) - 1 - len(kept), 1, len(kept))
    assert kept.items() <= {path.name: path.read_bytes() for path in (out / "tiles").glob("*.parquet")}.items()


PRELOAD = """
from tests.support.deadly import Deadly

async def dask_setup(worker):
    await worker.plugin_add(Deadly({name!r}), name="deadly")
"""


def test_a_tile_that_kills_its_workers(scanner: Scanner, no_torch: dict[str, str], model: Path, tmp_path: Path) -> None:
    """It is put aside, and is all that is missing; where it does not kill any more, the same command has it too."""
    names = small_tiles.names(6)
    for name in names:
        small_tiles.write(tmp_path / "unions", name, size=160, objects=8, bands="r")
    (tmp_path / "list.txt").write_text("\n".join(names))
    (tmp_path / "deadly.py").write_text(PRELOAD.format(name=names[2]))
    command = ["scan-tiles", "--tiles", tmp_path / "list.txt", "--root", tmp_path / "unions", "--model", model]
    command += ["--workers", 2, "--readers", 0, "--device", "cpu", "--format", "json"]
    poison = {
        "DASK_DISTRIBUTED__WORKER__PRELOAD": str(tmp_path / "deadly.py"),
        "PYTHONPATH": os.pathsep.join([no_torch["PYTHONPATH"], str(REPOSITORY)]),
    }
    done = scanner(*command, "--out", tmp_path / "out", **poison)
    assert done.code == 3, done.err
    assert "Traceback" not in done.err
    report = json.loads(done.out)
    assert (report["done"], report["failed"]) == (len(names) - 1, 1)
    assert [tile["code"] for tile in report["tiles"] if tile["status"] == "failed"] == ["tile.kills_workers"]
    assert [path.stem for path in (tmp_path / "out" / "failures").iterdir()] == [names[2]]

    again = scanner(*command, "--out", tmp_path / "out")
    assert again.code == 0, again.err
    assert json.loads(again.out)["skipped"] == len(names) - 1
    assert not list((tmp_path / "out" / "failures").iterdir())


READS_SLOWLY = """
import time
from catalogs.store.tile_store import TileStore
def slowly(self, tile, real=TileStore.open_tile):
    time.sleep(0.3)
    return real(self, tile)
TileStore.open_tile = slowly
"""
"""A worker rests before every tile, so that there is work left when it is disturbed."""


def test_a_map_that_is_interrupted_leaves_nothing_behind_and_goes_on(
    scanner: Scanner, no_torch: dict[str, str], tmp_path: Path
) -> None:
    """Ctrl-C reaches the workers too. What was placed stays, and the same command makes the map of one process."""
    filled = catalogs.create(tmp_path / "embeddings", catalogue_rows.RUN)
    rng = np.random.default_rng(0)
    for number in range(30):
        rows = catalogue_rows.make(number, 10 + number + rng.uniform(0, 0.4, 40), rng.uniform(30, 30.4, 40))
        catalogue_rows.write(filled, f"{100 + number}.240", rows)
    command = ["map", "--catalog", filled.path, "--method", "pca", "--sample", 50, "--format", "json"]
    (tmp_path / "slowly.py").write_text(READS_SLOWLY)
    placed = filled.path / "maps" / "pca" / "tiles"
    process = subprocess.Popen(
        [sys.executable, "-c", "from scanner.cli import main; main()", *map(str, command), "--workers", "2"],
        env={**no_torch, "DASK_DISTRIBUTED__WORKER__PRELOAD": str(tmp_path / "slowly.py")},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: process.poll() is not None or list(placed.glob("[!.]*.parquet")))
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate()
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    until(lambda: not group(process.pid))
    assert not list(filled.path.rglob("*.tmp"))
    kept = len(list(placed.glob("[!.]*.parquet")))
    assert 0 < kept < 30

    done = scanner(*command, "--workers", 2)
    assert done.code == 0, done.err
    assert (json.loads(done.out)["placed"], json.loads(done.out)["kept"]) == (30 - kept, kept)
    by_workers = {path.name: path.read_bytes() for path in placed.iterdir()}
    assert scanner(*command, "--refit").code == 0
    shutil.rmtree(placed)
    assert scanner(*command).code == 0
    assert {path.name: path.read_bytes() for path in placed.iterdir()} == by_workers


def test_options_of_workers_that_contradict_each_other_are_refused(scanner: Scanner, tmp_path: Path) -> None:
    filled = catalogs.create(tmp_path / "embeddings", catalogue_rows.RUN)
    done = scanner("outliers", "--catalog", filled.path, "--workers", 2, "--dask", "tcp://127.0.0.1:1")
    assert done.code == 2
    assert "neither workers nor dask-config" in done.err
