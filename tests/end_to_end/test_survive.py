"""A scan comes back whole from whatever happens to it: real processes, really killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import catalogs.store
from scanner import scan, survey, tiles
from scanner.encoder import Encoder
from scanner.options import ScanOptions
from scanner.report import ScanReport
from tests.support import small_tiles, tiny_encoder

TILES = 8
KILLS = int(os.environ.get("SCANNER_KILLS", "3"))
SCAN = """
import json, sys
from pathlib import Path
from catalogs import store
from scanner import encoder, scan, survey, tiles

folder, model, out, readers = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
unions = survey.load("unions")
options = scan.ScanOptions(readers=readers)
with encoder.Encoder(model, device="cpu", threads=2) as loaded:
    run = scan.make_run(unions, loaded, options)
    wanted = tiles.read_list(folder / "list.txt", unions, folder)
    report = scan.scan_tiles(wanted, unions, loaded, store.create(out, run), run, options)
sys.stdout.write(json.dumps(report.to_dict()))
"""


@pytest.fixture(scope="module")
def survey_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight good tiles and the list of them."""
    folder = tmp_path_factory.mktemp("unions")
    names = small_tiles.names(TILES)
    for name in names:
        small_tiles.write(folder, name, size=300)
    (folder / "list.txt").write_text("\n".join(names))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "encoder.onnx"
    return tiny_encoder.write(path, tiny_encoder.contract())


def again(folder: Path, model: Path, out: Path, readers: int = 0) -> ScanReport:
    """The same scan, in this process."""
    unions, options = survey.load("unions"), ScanOptions(readers=readers)
    with Encoder(model, device="cpu", threads=2) as loaded:
        run = scan.make_run(unions, loaded, options)
        wanted = tiles.read_list(folder / "list.txt", unions, folder)
        return scan.scan_tiles(wanted, unions, loaded, catalogs.store.create(out, run), run, options)


def start(folder: Path, model: Path, out: Path, readers: int = 1) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCAN, str(folder), str(model), str(out), str(readers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def finish(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    found: dict[str, object] = json.loads(out)
    return found


def contents(out: Path) -> dict[str, bytes]:
    """Every tile's file, byte for byte."""
    return {path.name: path.read_bytes() for path in sorted((out / "tiles").glob("*.parquet"))}


def leftovers(out: Path) -> list[str]:
    return [path.name for path in out.rglob("*") if path.name.endswith(".tmp")]


def children(pid: int) -> list[int]:
    """Processes that ``pid`` started, none if it is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


def wait_for(condition: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(survey_folder: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A catalogue made in peace, and how long that took in seconds."""
    out = tmp_path_factory.mktemp("peace") / "catalogue"
    began = time.monotonic()
    report = finish(start(survey_folder, model, out))
    assert report["done"] == TILES
    return out, time.monotonic() - began


@pytest.fixture
def no_orphans() -> Iterator[list[int]]:
    """Processes put in this list are gone a moment after the test."""
    processes: list[int] = []
    yield processes
    wait_for(lambda: not any(alive(pid) for pid in processes))


linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to see the processes")


def test_readers_do_not_change_a_byte(
    survey_folder: Path, model: Path, undisturbed: tuple[Path, float], tmp_path: Path
) -> None:
    again(survey_folder, model, tmp_path / "in-process")
    again(survey_folder, model, tmp_path / "two", readers=2)
    assert contents(tmp_path / "in-process") == contents(undisturbed[0]) == contents(tmp_path / "two")


def test_a_second_scan_skips_everything(survey_folder: Path, model: Path, undisturbed: tuple[Path, float]) -> None:
    before = contents(undisturbed[0])
    report = finish(start(survey_folder, model, undisturbed[0]))
    assert (report["done"], report["skipped"]) == (0, TILES)
    assert contents(undisturbed[0]) == before


@linux
@pytest.mark.parametrize("seed", range(KILLS))
def test_kill_9_then_the_same_command_gives_the_same_catalogue(
    survey_folder: Path,
    model: Path,
    undisturbed: tuple[Path, float],
    tmp_path: Path,
    no_orphans: list[int],
    seed: int,
) -> None:
    """Killed twice, each time at a random moment of the scan proper, then left alone."""
    out, took = tmp_path / "catalogue", undisturbed[1]
    chance = random.Random(seed)
    for _ in range(2):
        process = start(survey_folder, model, out)
        wait_for(lambda process=process: process.poll() is not None or children(process.pid))
        time.sleep(chance.uniform(0, took))
        no_orphans += children(process.pid)
        process.kill()
        process.communicate()
    again(survey_folder, model, out)
    assert contents(out) == contents(undisturbed[0])
    assert not leftovers(out)
    assert len(catalogs.store.open(out).tiles()) == TILES


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_a_clean_catalogue(
    survey_folder: Path,
    model: Path,
    undisturbed: tuple[Path, float],
    tmp_path: Path,
    no_orphans: list[int],
    number: signal.Signals,
) -> None:
    out = tmp_path / "catalogue"
    process = start(survey_folder, model, out)
    wait_for(lambda: list((out / "tiles").glob("*.parquet")))
    time.sleep(random.uniform(0, 0.3))
    no_orphans += children(process.pid)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    kept = contents(out)
    assert not leftovers(out)
    assert process.returncode == 0 or "KeyboardInterrupt" in err
    assert kept.items() <= contents(undisturbed[0]).items()
    assert kept
    again(survey_folder, model, out)
    assert contents(out) == contents(undisturbed[0])


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_reader_that_is_killed_costs_at_most_its_tile(
    survey_folder: Path, model: Path, undisturbed: tuple[Path, float], tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "catalogue"
    process = start(survey_folder, model, out)
    wait_for(lambda: (out / "tiles").exists())
    wait_for(lambda: list((out / "tiles").glob("*.parquet")))
    for child in children(process.pid):
        os.kill(child, number)
    report = finish(process)
    failed = [tile for tile in report["tiles"] if tile["status"] == "failed"]  # type: ignore[attr-defined]
    assert len(failed) <= 1
    assert {tile["code"] for tile in failed} <= {"tile.reader_died"}
    assert contents(out).items() <= contents(undisturbed[0]).items()
    assert len(contents(out)) == TILES - len(failed)
    assert [failure.tile for failure in catalogs.store.open(out).failures()] == [tile["tile"] for tile in failed]
    again(survey_folder, model, out)
    assert contents(out) == contents(undisturbed[0])
    assert not catalogs.store.open(out).failures()


@pytest.mark.parametrize("readers", [0, 1])
def test_a_bad_tile_among_good_ones_hurts_none(
    survey_folder: Path, model: Path, undisturbed: tuple[Path, float], tmp_path: Path, readers: int
) -> None:
    folder = tmp_path / "unions"
    folder.mkdir()
    for file in survey_folder.iterdir():
        (folder / file.name).symlink_to(file)
    names = small_tiles.names(TILES)
    truncated = small_tiles.band_file(folder, names[2], "r")
    whole = truncated.read_bytes()
    truncated.unlink()
    truncated.write_bytes(whole[: len(whole) // 2])
    report = again(folder, model, tmp_path / "out", readers)
    assert [(tile.tile, tile.code) for tile in report.failed] == [(names[2], "tile.truncated")]
    assert "CFIS.202.292.r.fits" in report.failed[0].message
    expected = contents(undisturbed[0])
    del expected[f"{names[2]}.parquet"]
    assert contents(tmp_path / "out") == expected

    truncated.write_bytes(whole)
    assert again(folder, model, tmp_path / "out", readers).count("done") == 1
    assert contents(tmp_path / "out") == contents(undisturbed[0])
    assert not catalogs.store.open(tmp_path / "out").failures()
