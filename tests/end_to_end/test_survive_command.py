"""``scanner scan-tiles`` as a user types it, interrupted, without room, refused, doubled, and out of time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import catalogs
from tests.end_to_end.conftest import Done, Scanner
from tests.support import nursery, small_tiles
from tests.support.waiting import until

NAMES = small_tiles.names(12)
REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to see the processes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small tiles in g and r, and the list of them."""
    made = tmp_path_factory.mktemp("unions")
    for name in NAMES:
        small_tiles.write(made, name, size=120, objects=8, bands="gr")
    (made / "list.txt").write_text("\n".join(NAMES))
    return made


@pytest.fixture(scope="module")
def arguments(folder: Path, model: Path) -> list[str]:
    wanted = ["scan-tiles", "--tiles", folder / "list.txt", "--root", folder, "--model", model, "--device", "cpu"]
    return [*map(str, wanted), "--format", "json"]


@pytest.fixture(scope="module")
def undisturbed(scanner: Scanner, arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every tile's file, made in peace."""
    out = tmp_path_factory.mktemp("peace") / "out"
    assert scanner(*arguments, "--out", out).code == 0
    return contents(out)


def contents(out: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted((out / "tiles").glob("[!.]*.parquet"))}


def start(arguments: list[str], out: Path, environment: dict[str, str], program: str = "") -> subprocess.Popen[str]:
    code = f"{program}\nfrom scanner.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--out", str(out)],
        env=environment,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate()
    return Done(process.returncode, out, err)


def children(pid: int) -> list[int]:
    return [int(c) for task in Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()]


def wait_for_tiles(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    until(lambda: process.poll() is not None or len(contents(out)) >= count)


SLOWLY = """
import time
from pathlib import Path
rename, renamed = Path.replace, []
def slowly(self, target):
    if Path(target).suffix == ".parquet":
        renamed.append(target)
        time.sleep(1 if len(renamed) > 2 else 0)
    return rename(self, target)
Path.replace = slowly
"""
"""Every tile but the first two takes a second, so that the scan is still in the middle when it is disturbed."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("readers", [0, 1])
def test_a_signal_in_the_middle_is_130_and_whole_tiles(
    scanner: Scanner,
    no_torch: dict[str, str],
    arguments: list[str],
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    number: signal.Signals,
    readers: int,
) -> None:
    out, wanted = tmp_path / "out", [*arguments, "--readers", str(readers)]
    process = start(wanted, out, no_torch, SLOWLY)
    wait_for_tiles(out, 2, process)
    started = children(process.pid)
    process.send_signal(number)
    done = end(process)
    assert done.code == 130, done.err
    assert done.out == ""
    assert "Interrupted. Finished tiles are kept" in done.err
    assert "Traceback" not in done.err
    assert not any(nursery.alive(pid) for pid in started)
    assert not list(out.rglob("*.tmp"))
    kept = contents(out)
    assert 2 <= len(kept) < len(NAMES)
    assert kept.items() <= undisturbed.items()

    again = scanner(*wanted, "--out", out)
    assert json.loads(again.out)["skipped"] == len(kept)
    assert contents(out) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_scan_has_begun_is_130_too(
    no_torch: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    """While it still loads: batch systems say SIGTERM whenever they like."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from scanner.cli import main; main()", "scan-tiles", "--tiles", "-"],
        env=no_torch,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: process.poll() is not None or "onnxruntime" in Path(f"/proc/{process.pid}/maps").read_text())
    process.send_signal(number)
    done = end(process)
    assert (done.code, done.out) == (130, ""), done.err
    assert "Traceback" not in done.err


def test_two_scans_into_one_catalogue_at_once_one_of_them_killed(
    no_torch: dict[str, str], arguments: list[str], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Three are started together; the first is killed on the way, and the others do not mind each other."""
    out = tmp_path / "out"
    killed, *others = (start(arguments, out, no_torch) for _ in range(3))
    wait_for_tiles(out, 1, killed)
    killed.kill()
    killed.communicate()
    for done in map(end, others):
        assert done.code == 0, done.err
        report = json.loads(done.out)
        assert report["done"] + report["skipped"] == len(NAMES)
    assert contents(out) == undisturbed
    assert not catalogs.open(out).failures()
    assert len(catalogs.open(out).table(["object_id"])) == len(set(catalogs.open(out).table()["object_id"]))
    catalogs.create(out, _run_of(out))  # what the next scan does first
    assert not list(out.rglob("*.tmp"))


def _run_of(out: Path) -> catalogs.Run:
    info = catalogs.open(out).info
    return catalogs.Run(info.survey, info.bands, info.model, info.model_sha256, info.contract, {}, info.grid)


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
    scanner: Scanner, no_torch: dict[str, str], folder: Path, arguments: list[str], undisturbed: dict[str, bytes],
    tmp_path: Path,
) -> None:  # fmt: skip
    """The clock of the day jumps by hours and years at every look; images and receipts come from past and future."""
    for number, path in enumerate(sorted(folder.glob("*.fits"))):
        os.utime(path, ((number % 3) * 2**31, (number % 3) * 2**31))
    out = tmp_path / "out"
    process = start([*arguments, "--readers", "0"], out, no_torch, CLOCK)
    wait_for_tiles(out, 3, process)
    process.kill()
    process.communicate()
    for path in out.rglob("*"):
        os.utime(path, (2**32, 2**32))
    done = end(start(arguments, out, no_torch, CLOCK))
    assert done.code == 0, done.err
    assert contents(out) == undisturbed
    for path in (out / "tiles").iterdir():
        os.utime(path, (0, 0))
    assert json.loads(scanner(*arguments, "--out", out).out)["skipped"] == len(NAMES)
    assert not list(out.rglob("*.tmp"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 100 kB, where this user may mount one."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", mounted]).returncode:
        pytest.skip("mounting a small file system takes root")
    yield mounted
    subprocess.run(["umount", "-l", mounted], check=True)


@pytest.mark.parametrize("readers", [0, 1])
def test_a_disk_that_fills_up_and_is_given_room_again(
    scanner: Scanner, arguments: list[str], undisturbed: dict[str, bytes], disk: Path, readers: int
) -> None:
    out, wanted = disk / "out", [*arguments, "--readers", readers]
    full = scanner(*wanted, "--out", out)
    assert full.code == 1
    assert full.out == ""
    assert "[output.full]" in full.err
    assert "Traceback" not in full.err
    kept = contents(out)
    assert kept
    assert kept.items() < undisturbed.items()
    assert not list(out.rglob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
    done = scanner(*wanted, "--out", out)
    assert (done.code, json.loads(done.out)["skipped"]) == (0, len(kept))
    assert contents(out) == undisturbed


def test_an_output_that_may_not_be_written(scanner: Scanner, arguments: list[str], disk: Path) -> None:
    """Refused before anything is computed, whether there is a catalogue already or not."""
    subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
    assert scanner(*arguments, "--out", disk / "out").code == 0
    before = contents(disk / "out")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for out in (disk / "other", disk / "out"):
        refused = scanner(*arguments, "--out", out)
        assert refused.code == 1, refused.err
        assert "[output.read_only]" in refused.err
        assert "Traceback" not in refused.err
    assert contents(disk / "out") == before
    assert scanner("info", "--catalog", disk / "out").code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(scanner: Scanner, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    refused = scanner(*arguments, "--out", tmp_path / "closed" / "out")
    assert (refused.code, "[output.read_only]" in refused.err) == (1, True)


def test_shards_of_a_list_are_the_whole_of_it(
    scanner: Scanner, arguments: list[str], undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Two as a user says them, one as SLURM does, into one catalogue; a second time there is nothing left to do."""
    out = tmp_path / "out"
    array = {"ID": "3", "MIN": "1", "MAX": "3", "COUNT": "3"}
    slurm = {f"SLURM_ARRAY_TASK_{name}": value for name, value in array.items()}
    shares = [scanner(*arguments, "--out", out, "--shard", "1/3"), scanner(*arguments, "--out", out, "--shard", "2/3")]
    shares.append(scanner(*arguments, "--out", out, "--shard", "auto", **slurm))
    assert [json.loads(share.out)["done"] for share in shares] == [4, 4, 4]
    assert contents(out) == undisturbed
    assert json.loads(scanner(*arguments, "--out", out).out)["skipped"] == len(NAMES)


def test_a_hostile_list_stays_in_its_place(
    scanner: Scanner, model: Path, folder: Path, undisturbed: dict[str, bytes], tmp_path: Path
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
    done = scanner(
        "scan-tiles", "--tiles", tmp_path / "list.txt", "--root", folder, "--model", model, "--out", out, cwd=folder
    )
    assert done.code == 3, done.err
    assert "Traceback" not in done.err
    assert "\x1b" not in done.out + done.err
    assert contents(out) == {name: undisturbed[name] for name in NAMES[:4]}
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["out"]
    assert {path.parent for path in out.rglob("*") if path.is_file()} == {out, out / "tiles", out / "failures"}
    assert not list(folder.glob("evil"))
