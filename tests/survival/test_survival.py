"""Every command, ended at every point: files are whole, and the same command again finishes what it left."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

import catalogs
from catalogs.search import candidates
from tests.support import survival
from tests.support.small_disk import remount, small_disk
from tests.support.survival import Command, Done, Nursery, PointOfDeath
from tests.support.waiting import until
from tests.survival.conftest import NAMES, READERS, Undisturbed

KILL, INT, TERM, TOO_LARGE = signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGXFSZ
KILLS = int(os.environ.get("SCANNER_KILLS", "50"))
COMMANDS = [*READERS, "index", "publish", "map"]
FULL_DISK = PointOfDeath()
LIMITS = {"scan": 6_000, "index": 30_000, "publish": 40_000, "map": 2_000}
"""Bytes that the files of a command outgrow; a reader's shared memory is no file of the output."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to see the processes")


@pytest.fixture
def by_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches go through the index, however small it is."""
    monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
    monkeypatch.setattr(candidates, "FEW_ROWS", 0)


def cases() -> Iterator[tuple[str, PointOfDeath]]:
    for name in COMMANDS:
        renamed = ".ann" if name == "index" else ".parquet"
        yield name, FULL_DISK
        yield name, PointOfDeath(KILL, "open", ".tmp")
        yield from ((name, PointOfDeath(number, "os.rename", renamed, 2)) for number in (KILL, INT, TERM))
        if name in LIMITS:
            yield from ((name, PointOfDeath(number, limit=LIMITS[name])) for number in (0, TOO_LARGE))
        module = "onnxruntime" if name in READERS else "pyarrow"
        yield from ((name, PointOfDeath(number, "import", module)) for number in (KILL, INT, TERM))
    for suffix, nth in itertools.product((".rows.npy", ".f16", ".ann", ".json"), (1, 2, 3)):
        if suffix == ".json" or nth < 3:  # data of two shards, and the sidecar that reserves the new one's name
            yield "index", PointOfDeath(KILL, "os.rename", suffix, nth)
    yield from (
        ("publish", PointOfDeath(number, "os.rename", ".parquet", nth)) for number in (KILL, INT) for nth in (3, 9)
    )
    yield from (("publish", PointOfDeath(KILL, "os.rename", name)) for name in ("archive", "plan.json", "properties"))
    yield from (("map", PointOfDeath(KILL, "os.rename", name)) for name in ("sample.parquet", "map.json"))
    yield "scan", PointOfDeath(KILL, "os.rename", "catalogue.json")


CASES = list(dict.fromkeys(cases()))


def check(name: str, at: Path, finished: bool) -> None:
    """What holds of a command's output at any time, and when it is finished."""
    if name == "publish":
        assert (at / "archive").exists() or not finished
    elif name == "index":
        found = catalogs.open(at / "out").neighbours(vector=np.arange(16.0), k=8)
        exactly = catalogs.open(at / "out").table(["object_id", "embedding"])
        cosine = exactly["embedding"] @ np.arange(16.0)
        assert set(found["object_id"]) == set(exactly["object_id"][np.argsort(-cosine)[:8]])
        assert found.meta["rows_indexed"] >= (len(exactly) if finished else 2000)
    elif name in READERS and finished:
        assert catalogs.open(at / "out").tiles() == NAMES
        assert not catalogs.open(at / "out").failures()


def check_end(done: Done, point: PointOfDeath, at: Path) -> None:
    """A command that could clean up says in one sentence why it ended, and leaves no temporary and no process."""
    assert done.code == point.code, done.err
    assert "Traceback" not in done.err
    if not point.killed:
        assert done.out == ""
        assert ("Interrupted" if point.number else "[output.full]") in done.err
        assert point.number or str(at) in done.err
        assert not survival.temporaries(at)
        assert not any(survival.alive(pid) for pid in done.children)


def check_left(name: str, command: Command, at: Path, whole: Undisturbed) -> dict[str, bytes]:
    """Files are those of before, or finished; returns the finished ones."""
    before = command.made(command.start) if command.start else {}
    left = command.made(at)
    for path, content in left.items():
        if content not in (before.get(path), whole.files.get(path)):
            assert fnmatch(path, command.between), path
            assert survival.is_whole(path, content)
    assert set(whole.files) <= set(left) or not (at / "archive").exists()
    check(name, at, finished=left == whole.files and name != "publish")
    return {path: content for path, content in left.items() if whole.files.get(path) == content}


def check_finished(name: str, command: Command, nursery: Nursery, at: Path, whole: Undisturbed) -> None:
    """The same command again gives the undisturbed bytes, leaves nothing else, and makes no tile a second time."""
    kept = command.identities(at)
    done = nursery.run(command.words(at))
    assert done.code == 0, done.err
    assert command.made(at) == whole.files
    assert survival.names(at) == whole.names
    assert {path: survival.identity(at / path) for path in kept} == kept
    check(name, at, finished=True)


@pytest.mark.usefixtures("by_the_index")
@pytest.mark.parametrize(("name", "point"), CASES, ids=[f"{name}-{point}" for name, point in CASES])
def test_the_same_command_again_finishes_what_an_end_left(
    name: str,
    point: PointOfDeath,
    commands: dict[str, Command],
    undisturbed: Callable[[str], Undisturbed],
    nursery: Nursery,
    tmp_path: Path,
) -> None:
    command, whole = commands[name], undisturbed(name)
    if point is FULL_DISK:
        begins = survival.room(command.start) if command.start else 0
        with small_disk(tmp_path / "disk", begins + (whole.size - begins) * 6 // 10) as disk:
            ended_and_finished(name, command, point, nursery, disk, whole)
    else:
        ended_and_finished(name, command, point, nursery, tmp_path / "at", whole)


def ended_and_finished(
    name: str, command: Command, point: PointOfDeath, nursery: Nursery, at: Path, whole: Undisturbed
) -> None:
    done = nursery.run(command.words(command.begin(at)), point)
    check_end(done, point, at)
    left = check_left(name, command, at, whole)
    assert len(left) < len(whole.files) or point.of == "archive"
    assert not (at / "archive").exists()
    if point is FULL_DISK:
        assert left or name in ("index", "map")  # whose first file is most of what they make
        remount(at, "size=64m")
    elif point.event == "os.rename" and name not in ("index", "map"):
        assert len(left) >= ((point.nth - 1) // 2 if name == "publish" else point.nth - 1)  # margins are noted first
    check_finished(name, command, nursery, at, whole)
    until(lambda: not any(survival.alive(pid) for pid in done.children))


@pytest.mark.parametrize(
    "point",
    [
        PointOfDeath(KILL, "shutil.rmtree", "margin"),
        PointOfDeath(KILL, "os.remove", "plan.json"),
        PointOfDeath(KILL, "shutil.rmtree", ".archive.partial", 2),
    ],
    ids=str,
)
def test_a_publication_that_is_killed_after_its_last_rename_is_finished(
    point: PointOfDeath,
    commands: dict[str, Command],
    undisturbed: Callable[[str], Undisturbed],
    nursery: Nursery,
    tmp_path: Path,
) -> None:
    command, whole, at = commands["publish"], undisturbed("publish"), tmp_path / "at"
    assert nursery.run(command.words(command.begin(at)), point).code == point.code
    assert (at / "archive").exists()
    assert survival.names(at) != whole.names
    check_finished("publish", command, nursery, at, whole)


@pytest.mark.usefixtures("by_the_index")
@pytest.mark.parametrize("name", COMMANDS)
def test_kill_9_at_random_moments(
    name: str,
    commands: dict[str, Command],
    undisturbed: Callable[[str], Undisturbed],
    nursery: Nursery,
    tmp_path: Path,
) -> None:
    """Each output is begun, killed, gone on with and killed again until a run gets through before its moment."""
    command, whole, chance = commands[name], undisturbed(name), random.Random(0)
    kills, children = {"scan": KILLS * 3 // 4, "scan with a reader": KILLS // 4}.get(name, KILLS // 10), set()
    for number in itertools.count():
        at = command.begin(tmp_path / str(number))
        while kills:
            pid = nursery.start(command.words(at))
            moment = time.monotonic() + chance.uniform(0, whole.seconds)
            while time.monotonic() < moment and survival.alive(pid):
                children.update(survival.descendants(pid))
                time.sleep(0.01)
            if survival.alive(pid):
                os.kill(pid, KILL)
            if nursery.wait(pid).code != -KILL:
                break
            check_left(name, command, at, whole)
            kills -= 1
        if name == "publish" and (at / "archive").exists():
            assert whole.files.items() <= command.made(at).items()
        else:
            check_finished(name, command, nursery, at, whole)
        if not kills:
            break
    until(lambda: not any(survival.alive(pid) for pid in children))
