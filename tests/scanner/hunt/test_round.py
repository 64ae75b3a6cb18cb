"""A round on disk: cut once, resumed after a kill, bounded by the disk, and read from its own folder alone."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.table import Table

from catalogs.errors import ErrorCode, ScannerError
from catalogs.store.provenance import Info
from scanner.hunt.cutter import Cutter
from scanner.hunt.project import Project
from scanner.hunt.round import CUT, NO_PIXELS, WAITING, Round
from scanner.hunt.verdicts import Verdict
from scanner.windows.frame import WindowFrame
from tests.support.catalogue_rows import RUN
from tests.support.small_disk import small_disk

SIDE, COUNT = 64, 40
INFO = Info.of(RUN)
CONTRACT = {**RUN.contract, "bands": ["u", "g", "r"], "window": SIDE, "pixel_scale": 0.18577}


def info(model: str = "a" * 64) -> Info:
    """What a catalogue of this model states."""
    return Info(**{**INFO.__dict__, "contract": CONTRACT, "model_sha256": model})


def objects(count: int = COUNT) -> Table:
    number = np.arange(count)
    return Table(
        {"object_id": number, "tile": [f"{n % 3}" for n in number], "ra": 10 + number / 100, "dec": 0.0 * number}
    )


def pixels(tile: str, ra: float, dec: float) -> tuple[np.ndarray, bytes] | None:
    """A cutout that its place decides; one place has none."""
    if round(100 * (ra - 10)) == 5:
        return None
    return np.full((3, SIDE, SIDE), 1000 * ra, np.float32) + np.arange(SIDE, dtype=np.float32), f"{ra:.2f}".encode()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.create(tmp_path / "hunt")
    made.add_round(objects(), "made up", "nowhere", info())
    return made


def content(folder: Path) -> dict[str, bytes]:
    arrays = {name: (folder / f"{name}.npy").read_bytes() for name in ("windows", "scales", "states")}
    with sqlite3.connect(folder / "wide.sqlite") as pictures:
        wide = pictures.execute("SELECT * FROM wide ORDER BY number").fetchall()
    return {**arrays, "wide": repr(wide).encode()}


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.scanner.hunt.test_round import pixels
from scanner.hunt.project import Project

calls = 0

def cut(*place):
    global calls
    calls += 1
    if calls == 21:
        os.kill(os.getpid(), signal.SIGKILL)
    return pixels(*place)

for done in Project(Path(sys.argv[1])).round(1).cut(cut):
    pass
"""


def test_cutting_resumes_after_a_kill_where_it_was(project: Project, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(project.folder, whole)
    progress = list(Project(whole).round(1).cut(pixels))
    assert progress == [16, 32, 40]

    killed = subprocess.run([sys.executable, "-c", KILLED, project.folder], cwd=Path(__file__).parents[3], check=False)
    assert killed.returncode == -signal.SIGKILL
    one = Project(project.folder).round(1)
    assert ((one.states != 0).sum(), len(one)) == (16, COUNT)
    before = one.window(np.flatnonzero(one.states))
    asked: list[float] = []

    def cut(tile: str, ra: float, dec: float) -> tuple[np.ndarray, bytes] | None:
        asked.append(ra)
        return pixels(tile, ra, dec)

    assert list(one.cut(cut)) == [32, 40]
    assert len(set(asked)) == len(asked) == COUNT - 16
    assert one.window(np.flatnonzero(np.isin(one.place["ra"], asked, invert=True))) == before
    assert content(one.folder) == content(whole / "rounds" / "1")
    assert (one.states == CUT).sum() == COUNT - 1
    assert one.states[5] == NO_PIXELS
    assert one.wide(5) is None
    assert list(one.cut(cut)) == []


def test_what_is_looked_at_is_cut_first_and_cutting_stops_when_it_is_told(project: Project) -> None:
    one, order = project.round(1), []

    def cut(tile: str, ra: float, dec: float) -> tuple[np.ndarray, bytes] | None:
        order.append(round(100 * (ra - 10)))
        return pixels(tile, ra, dec)

    assert list(one.cut(cut, lambda: np.array([39, 7]), lambda: len(order) >= 16)) == [16]
    assert order[:2] == [39, 7]


def fill(path: Path) -> None:
    """Write until the disk is full."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        with pytest.raises(OSError, match="No space"):
            write_for_ever(descriptor)
    finally:
        os.close(descriptor)


def write_for_ever(descriptor: int) -> None:
    while True:
        os.write(descriptor, bytes(4096))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 3_000_000) as folder:
        yield folder


def test_a_full_disk_is_an_error_that_says_so_and_leaves_nothing(disk: Path) -> None:
    project = Project.create(disk / "hunt")
    with pytest.raises(ScannerError) as caught:
        project.add_round(objects(400), "too large", "nowhere", info())
    assert caught.value.code == ErrorCode.OUTPUT_FULL
    assert str(disk) in caught.value.message
    assert list((disk / "hunt" / "rounds").iterdir()) == []
    # Room for the windows is set aside at once, since a write through a map to a full disk would end the process.
    one = project.add_round(objects(), "small", "nowhere", info())
    fill(disk / "rest")

    def cut(*place: object) -> tuple[np.ndarray, bytes]:
        return np.zeros((3, SIDE, SIDE), np.float32), bytes(100_000)

    with pytest.raises(ScannerError) as caught:
        list(one.cut(cut))
    assert caught.value.code == ErrorCode.HUNT_NOT_SAVED
    said = Verdict("a", "a", "me", 1, 1, 10.0, 0.0, "0", "", "triage", "no", comment="x" * 8000)
    with pytest.raises(ScannerError) as caught:
        project.verdicts.add([Verdict(**{**said.__dict__, "uuid": str(number)}) for number in range(200)])
    assert caught.value.code == ErrorCode.HUNT_NOT_SAVED
    (disk / "rest").unlink()
    assert list(one.cut(pixels))[-1] == COUNT
    project.verdicts.add([said])
    assert project.verdicts.standing()[-1].uuid == "a"


@pytest.mark.parametrize("name", ["windows.npy", "objects.parquet", "wide.sqlite", "round.json"])
def test_a_round_reads_no_file_outside_its_folder(project: Project, tmp_path: Path, name: str) -> None:
    path = project.folder / "rounds" / "1" / name
    path.rename(tmp_path / name)
    path.symlink_to(tmp_path / name)
    with pytest.raises(ScannerError) as caught:
        Project(project.folder).round(1)
    assert caught.value.code == ErrorCode.HUNT_DAMAGED
    assert "link" in caught.value.message


@pytest.mark.parametrize("name", ["rounds", "scheme.toml", "verdicts.sqlite", "rounds/1"])
def test_a_project_reads_no_file_outside_its_folder(project: Project, tmp_path: Path, name: str) -> None:
    path = project.folder / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ScannerError) as caught:
        Project(project.folder).round(1)
    assert caught.value.code == ErrorCode.HUNT_DAMAGED
    # The folder itself may lie anywhere.
    path.unlink()
    (tmp_path / "elsewhere").rename(path)
    (tmp_path / "link").symlink_to(project.folder)
    assert len(Project(tmp_path / "link").round(1)) == COUNT


def test_a_damaged_file_of_a_round_is_named(project: Project) -> None:
    folder = project.folder / "rounds" / "1"
    (folder / "wide.sqlite").write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    with pytest.raises(ScannerError) as caught:
        Round(folder).wide(0)
    assert caught.value.code == ErrorCode.HUNT_DAMAGED
    os.truncate(folder / "windows.npy", 500)
    with pytest.raises(ScannerError) as caught:
        Round(folder)
    assert caught.value.code == ErrorCode.HUNT_DAMAGED


def test_rows_are_the_columns_with_pythons_own_values(project: Project) -> None:
    listed = objects(4)
    listed["object_id"] = np.array([2**53 + 1, 1, 2, 3])
    listed["known_as"] = ["", "J1 'x'", "é", ""]
    listed["flag"] = np.array([True, False, True, False])
    listed["mag"] = np.array([20.5, np.nan, 0.1, 1], np.float32)
    made = project.add_round(listed, "columns", "nowhere", info())
    # A list of another program may lack values.
    missing = pa.chunked_array([pa.array([7, None, 9, None])])
    made.objects = made.objects.append_column("count", missing)
    numbers = np.array([2, 0, 2])
    rows = made.rows(numbers)
    columns = made.objects.column_names
    assert columns[-1] == "count"
    expected = [{name: made.objects.column(name)[int(n)].as_py() for name in columns} for n in numbers]
    assert repr(rows) == repr(expected)
    assert rows[1]["object_id"] == 2**53 + 1
    assert made.rows(numbers[:0]) == []


def test_what_cannot_be_read_waits_for_the_next_run(project: Project) -> None:
    one, other = project.round(1), Project(project.folder).round(1)
    asked = []

    def unmounted(tile: str, ra: float, dec: float) -> tuple[np.ndarray, bytes] | None:
        asked.append(ra)
        if tile == "1":
            raise ScannerError(ErrorCode.TILE_MISSING_FILE, "There is no such file.", "Mount the disk.")
        return pixels(tile, ra, dec)

    assert list(one.cut(unmounted))[-1] == COUNT == len(asked)
    unread = np.flatnonzero(one.place["tile"] == "1")
    # While this process runs it shows them as without pixels, but they are not settled.
    assert (one.states[unread] == NO_PIXELS).all()
    assert (other.states[unread] == WAITING).all()
    assert one.is_settled(np.array([0, 5]))
    assert not one.is_settled(unread[:1])
    assert list(other.cut(pixels))[-1] == COUNT
    assert (other.states == CUT).sum() == COUNT - 1


def test_another_process_cuts_the_same_round_meanwhile(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "connect", lambda path, **given: sqlite3.Connection(path, **{**given, "timeout": 0.1}))
    other = Project(project.folder).round(1)
    begun = []

    def cut(*place: Any) -> tuple[np.ndarray, bytes] | None:
        # The first of these has cut something already.
        if len(begun) == 1:
            list(other.cut(pixels))
        begun.append(place)
        return pixels(*place)

    assert list(project.round(1).cut(cut))
    assert (other.states == CUT).sum() == COUNT - 1


def test_the_folder_of_a_round_that_was_killed_is_removed(project: Project) -> None:
    rounds = project.folder / "rounds"
    for name, age in ((".2.old", 7200), (".2.young", 60)):
        (rounds / name).mkdir()
        (rounds / name / "windows.npy").touch()
        os.utime(rounds / name, (time.time() - age,) * 2)
    project.add_round(objects(3), "next", "nowhere", info())
    assert {path.name for path in rounds.iterdir()} == {"1", "2", ".2.young"}


@pytest.mark.parametrize("ra", [np.nan, np.inf])
def test_a_list_with_an_object_without_a_position_is_refused(project: Project, ra: float) -> None:
    listed = objects(3)
    listed["ra"][1] = ra
    with pytest.raises(ScannerError) as caught:
        project.add_round(listed, "bad", "nowhere", info())
    assert caught.value.code == ErrorCode.HUNT_BAD_LIST


class Reader:
    """Opens tiles, but for one, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def tile(self, name: str) -> Any:
        self.asked.append(name)
        if name == "missing":
            raise ScannerError(ErrorCode.TILE_MISSING_FILE, "There is no such file.")
        return self

    def cut(self, ra: float, dec: float, frame: WindowFrame | None = None) -> np.ndarray:
        if ra > 180:
            raise ScannerError(ErrorCode.QUERY_OUTSIDE_COVERAGE, "It is not on the tile.")
        return np.ones((3, 8, 8), np.float32)

    def close(self) -> None:
        pass


def test_a_cutter_tells_what_has_no_pixels_from_what_cannot_be_read() -> None:
    reader = Reader()
    with Cutter(reader, WindowFrame(("g", "r", "i"), 8, 0.2)) as cutter:  # type: ignore[arg-type]
        assert cutter("there", 10.0, 0.0) is not None
        assert cutter("there", 200.0, 0.0) is None
        for _ in range(3):
            with pytest.raises(ScannerError):
                cutter("missing", 10.0, 0.0)
        assert cutter("there", 10.0, 0.0) is not None
    # A tile that does not answer is asked for once, not for each of its objects.
    assert reader.asked == ["there", "missing", "there"]
    assert [*cutter.problems] == ["there", "missing"]
