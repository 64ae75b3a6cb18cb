"""A scan comes back whole from whatever happens to it: real processes, really killed."""

from __future__ import annotations

import contextlib
import itertools
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

import catalogs
from scanner.scan.report import ScanReport
from tests.support import nursery, small_tiles, tiny_encoder
from tests.support.waiting import until

TILES = 8
KILLS = int(os.environ.get("SCANNER_KILLS", "50"))
SCAN = """
import json, sys
from pathlib import Path
from tests.support.nursery import scan_list

report = scan_list(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
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
    return nursery.scan_list(folder, model, out, readers)


def start(folder: Path, model: Path, out: Path, readers: int = 1) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCAN, str(folder), str(model), str(out), str(readers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def finish(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate()
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
    until(lambda: not any(nursery.alive(pid) for pid in processes))


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
def test_kill_9_at_random_moments_then_the_same_command_gives_the_same_catalogue(
    model: Path, tmp_path: Path, no_orphans: list[int]
) -> None:
    """Each catalogue is begun, killed, gone on with and killed again until a scan gets through before its moment.

    Every fourth is made with a reading process, which must not outlive the scan.
    """
    for name in small_tiles.names(TILES):
        small_tiles.write(tmp_path, name, size=120, objects=8, bands="gr")
    (tmp_path / "list.txt").write_text("\n".join(small_tiles.names(TILES)))
    chance, kills = random.Random(0), 0
    with nursery.Nursery(tmp_path, model) as scans:
        usual = [scans.finish(tmp_path / f"usual-{readers}", readers) for readers in (0, 1)]
        expected = contents(tmp_path / "usual-0")
        for number in itertools.count():
            out, readers = tmp_path / str(number), int(number % 4 == 3)
            while kills < KILLS:
                pid = scans.start(out, readers)
                moment = time.monotonic() + chance.uniform(0, usual[readers])
                while readers and time.monotonic() < moment and nursery.alive(pid):
                    no_orphans += children(pid)
                    time.sleep(0.01)
                if not nursery.kill(pid, max(moment - time.monotonic(), 0)):
                    break
                kills += 1
            scans.finish(out, readers)
            assert len(expected) == TILES
            assert contents(out) == expected, f"after {kills} kills"
            assert not leftovers(out)
            assert catalogs.open(out).tiles() == small_tiles.names(TILES)
            assert not catalogs.open(out).failures()
            if kills >= KILLS:
                return


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
    until(lambda: process.poll() is not None or list((out / "tiles").glob("*.parquet")))
    time.sleep(random.uniform(0, 0.3))
    no_orphans += children(process.pid)
    process.send_signal(number)
    _, err = process.communicate()
    kept = contents(out)
    assert not leftovers(out)
    assert process.returncode == 0 or "KeyboardInterrupt" in err
    assert kept.items() <= contents(undisturbed[0]).items()
    assert kept
    again(survey_folder, model, out)
    assert contents(out) == contents(undisturbed[0])


@linux
@pytest.mark.parametrize(("number", "most"), [(signal.SIGKILL, 1), (signal.SIGSEGV, 1), (signal.SIGTERM, 0)])
def test_a_reader_that_is_killed_costs_at_most_its_tile(
    survey_folder: Path, model: Path, undisturbed: tuple[Path, float], tmp_path: Path, number: signal.Signals, most: int
) -> None:
    """One that is asked to end leaves that to its parent: batch systems ask all processes of a job."""
    out = tmp_path / "catalogue"
    process = start(survey_folder, model, out)
    until(lambda: process.poll() is not None or list((out / "tiles").glob("*.parquet")))
    for child in children(process.pid):
        os.kill(child, number)
    report = finish(process)
    failed = [tile for tile in report["tiles"] if tile["status"] == "failed"]  # type: ignore[attr-defined]
    assert len(failed) <= most
    assert {tile["code"] for tile in failed} <= {"tile.reader_died"}
    assert contents(out).items() <= contents(undisturbed[0]).items()
    assert len(contents(out)) == TILES - len(failed)
    assert [failure.tile for failure in catalogs.open(out).failures()] == [tile["tile"] for tile in failed]
    again(survey_folder, model, out)
    assert contents(out) == contents(undisturbed[0])
    assert not catalogs.open(out).failures()


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
    assert not catalogs.open(tmp_path / "out").failures()
