"""``scanner scan-tiles`` with killed readers, other scans, a clock that jumps, a read-only disk, a hostile list."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import catalogs
from tests.support import survival
from tests.support.small_disk import remount, small_disk
from tests.support.survival import Nursery, PointOfDeath
from tests.support.waiting import until
from tests.survival.conftest import NAMES, Undisturbed

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to see the processes")


@pytest.fixture
def whole(undisturbed: Callable[[str], Undisturbed]) -> dict[str, bytes]:
    """The file of each tile, made in peace."""
    return by_tile(undisturbed("scan").files)


def by_tile(files: dict[str, bytes]) -> dict[str, bytes]:
    return {Path(name).stem: content for name, content in files.items()}


def contents(out: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in survival.visible(out, "tiles/*.parquet")}


@pytest.mark.parametrize(("number", "most"), [(signal.SIGKILL, 1), (signal.SIGSEGV, 1), (signal.SIGTERM, 0)])
def test_a_reader_that_is_killed_costs_at_most_its_tile(
    nursery: Nursery, scan: list[object], whole: dict[str, bytes], tmp_path: Path, number: int, most: int
) -> None:
    """A reader that is asked to end leaves that to its parent: batch systems ask all processes of a job."""
    words = [*scan, "--readers", 1, "--out", tmp_path]
    pid = nursery.start(words, PointOfDeath(signal.SIGSTOP, "os.rename", ".parquet", 2))
    survival.wait_until_stopped(pid)
    readers = survival.descendants(pid)
    assert readers
    for reader in readers:
        os.kill(reader, number)
    os.kill(pid, signal.SIGCONT)
    done = nursery.wait(pid)
    report = json.loads(done.out)
    failed = [tile for tile in report["tiles"] if tile["status"] == "failed"]
    assert done.code == (3 if failed else 0)
    assert len(failed) <= most
    assert {tile["code"] for tile in failed} <= {"tile.reader_died"}
    assert contents(tmp_path).items() <= whole.items()
    assert len(contents(tmp_path)) == len(NAMES) - len(failed)
    assert [failure.tile for failure in catalogs.open(tmp_path).failures()] == [tile["tile"] for tile in failed]
    assert nursery.run(words).code == 0
    assert contents(tmp_path) == whole
    assert not catalogs.open(tmp_path).failures()


def test_scans_into_one_catalogue_at_once_one_of_them_killed(
    nursery: Nursery, scan: list[object], undisturbed: Callable[[str], Undisturbed], tmp_path: Path
) -> None:
    """Two stop with the same tile unfinished, two others scan; then one of the first is killed, and one continues."""
    words, stop = [*scan, "--out", tmp_path / "out"], PointOfDeath(signal.SIGSTOP, "os.rename", ".parquet")
    killed, stopped = (nursery.start(words, stop) for _ in range(2))
    for pid in (killed, stopped):
        survival.wait_until_stopped(pid)
    assert len(survival.temporaries(tmp_path)) == 2
    assert catalogs.open(tmp_path / "out").tiles() == []
    others = [nursery.start(words) for _ in range(2)]
    until(lambda: len(contents(tmp_path / "out")) > 1)
    os.kill(killed, signal.SIGKILL)
    assert nursery.wait(killed).code == -signal.SIGKILL
    ends = [nursery.wait(pid) for pid in others]
    assert survival.temporaries(tmp_path)  # of the writer that is still there
    os.kill(stopped, signal.SIGCONT)
    for done in [*ends, nursery.wait(stopped)]:
        assert done.code == 0, done.err
        report = json.loads(done.out)
        assert report["done"] + report["skipped"] == len(NAMES)
    assert contents(tmp_path / "out") == by_tile(undisturbed("scan").files)
    assert not catalogs.open(tmp_path / "out").failures()
    assert json.loads(nursery.run(words).out)["skipped"] == len(NAMES)
    assert survival.names(tmp_path) == undisturbed("scan").names


CLOCK = """
import random, time
chance, now = random.Random(0), [1.7e9]
def jump():
    now[0] += chance.choice([-86400.0, -3600.0, 0.0, 1e-3, 3600.0, 3e9, -3e9])
    now[0] = min(max(now[0], 0.0), 4e9)
    return now[0]
time.time, time.time_ns = jump, lambda: int(jump() * 1e9)
"""


def test_a_clock_that_jumps_changes_nothing(
    nursery: Nursery, scan: list[object], folder: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    """The clock of the day jumps by hours and years at every look; images and receipts come from past and future."""
    for number, path in enumerate(sorted(folder.glob("*.fits"))):
        os.utime(path, ((number % 3) * 2**31, (number % 3) * 2**31))
    words = [*scan, "--readers", 0, "--out", tmp_path]
    killed = nursery.run(words, PointOfDeath(signal.SIGKILL, "os.rename", ".parquet", 4), CLOCK)
    assert killed.code == -signal.SIGKILL
    for path in tmp_path.rglob("*"):
        os.utime(path, (2**32, 2**32))
    done = nursery.run(words, program=CLOCK)
    assert done.code == 0, done.err
    assert contents(tmp_path) == whole
    for path in (tmp_path / "tiles").iterdir():
        os.utime(path, (0, 0))
    assert json.loads(nursery.run(words).out)["skipped"] == len(NAMES)
    assert not survival.temporaries(tmp_path)


def test_an_output_that_may_not_be_written(nursery: Nursery, scan: list[object], tmp_path: Path) -> None:
    """Refused before anything is computed, whether there is a catalogue already or not."""
    with small_disk(tmp_path / "disk", 10_000_000) as disk:
        assert nursery.run([*scan, "--out", disk / "out"]).code == 0
        before = contents(disk / "out")
        remount(disk, "ro")
        for out in (disk / "other", disk / "out"):
            refused = nursery.run([*scan, "--out", out])
            assert refused.code == 1, refused.err
            assert "[output.read_only]" in refused.err
            assert "Traceback" not in refused.err
        assert contents(disk / "out") == before
        assert nursery.run(["info", "--catalog", disk / "out"]).code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(nursery: Nursery, scan: list[object], tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    refused = nursery.run([*scan, "--out", tmp_path / "closed" / "out"])
    assert (refused.code, "[output.read_only]" in refused.err) == (1, True)


def test_shards_of_a_list_are_the_whole_of_it(
    nursery: Nursery, scan: list[object], whole: dict[str, bytes], tmp_path: Path
) -> None:
    """Two as a user says them, one as SLURM does, into one catalogue; a second time there is nothing left to do."""
    words = [*scan, "--out", tmp_path]
    array = {"ID": "3", "MIN": "1", "MAX": "3", "COUNT": "3"}
    slurm = {f"SLURM_ARRAY_TASK_{name}": value for name, value in array.items()}
    shares = [nursery.run([*words, "--shard", share]) for share in ("1/3", "2/3")]
    shares.append(nursery.run([*words, "--shard", "auto"], program=f"import os; os.environ.update({slurm})"))
    assert [json.loads(share.out)["done"] for share in shares] == [4, 4, 4]
    assert contents(tmp_path) == whole
    assert json.loads(nursery.run(words).out)["skipped"] == len(NAMES)


def test_a_hostile_list_stays_in_its_place(
    nursery: Nursery, model: Path, folder: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    """Ways out of the folder, escapes of the terminal, names of options, and bytes that are no text."""
    lines = [
        NAMES[0], "../../../../etc/passwd", f"../{folder.name}/CFIS.{NAMES[1]}.r.fits", "--out=/tmp/evil", "-rf /",
        "$(touch evil)", "`touch evil`", "; touch evil", "217.292\x1b]0;evil\x07", "201\u2028.292", "*" * 300,
        "/etc/**/*", "~root", "%s%n{0}{x.__class__}", "CON", "file:///etc/passwd", f"{NAMES[2]}\r", "0" * 4000,
        "é" * 64, "NaN.inf",
    ]  # fmt: skip
    (tmp_path / "list.txt").write_bytes("\n".join(lines).encode() + b"\n" + NAMES[3].encode() + b"\n")
    (tmp_path / "here").mkdir()
    out = tmp_path / "here" / "out"
    words = ["scan-tiles", "--tiles", tmp_path / "list.txt", "--root", folder, "--model", model, "--out", out]
    done = nursery.run(words, program=f"import os; os.chdir({str(folder)!r})")
    assert done.code == 3, done.err
    assert "Traceback" not in done.err
    assert "\x1b" not in done.out + done.err
    assert contents(out) == {name: whole[name] for name in NAMES[:4]}
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["out"]
    assert {path.parent for path in out.rglob("*") if path.is_file()} == {out, out / "tiles", out / "failures"}
    assert not list(folder.glob("evil"))
