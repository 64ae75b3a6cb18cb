"""Scratch folders go with their process, and a sweep removes nothing that no scan made."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scanner.remote import scratch
from scanner.remote.scratch import Scratch

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing is swept without locks")

KILLED = """
import os, pathlib, signal, sys
from scanner.remote.scratch import Scratch
with Scratch(pathlib.Path(sys.argv[1])) as own:
    (own.new_folder() / "copy.fits").write_text("pixels")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def left_behind(tmp_path: Path) -> Path:
    """The scratch folder of a process that was killed."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == -signal.SIGKILL
    (folder,) = tmp_path.iterdir()
    assert (folder / "0" / "copy.fits").is_file()
    return folder


def sweep(parent: Path) -> None:
    with Scratch(parent):
        pass


def test_scratch_is_removed_with_its_process(tmp_path: Path) -> None:
    with Scratch(tmp_path) as own:
        room = own.new_folder()
        # Another scan that begins meanwhile leaves it alone.
        sweep(tmp_path)
        assert room.is_dir()
    assert not list(tmp_path.iterdir())


def test_scratch_of_a_killed_process_is_removed_by_the_next_scan(tmp_path: Path, left_behind: Path) -> None:
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_catalogue_in_the_scratch_folder_stays(tmp_path: Path) -> None:
    catalogue = tmp_path / "unions-scanner-run1"
    (catalogue / "tiles").mkdir(parents=True)
    for name in (".lock", "catalogue.json", "tiles/200.290.parquet"):
        (catalogue / name).write_text("kept")
    (tmp_path / "unions-scanner-notes").mkdir()
    (tmp_path / "unions-scanner-list").write_text("217.292")
    before = sorted(tmp_path.rglob("*"))
    sweep(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["catalogue.json", "notes", "0.fits", ".lock"])
def test_what_somebody_else_put_into_scratch_stays(tmp_path: Path, left_behind: Path, name: str) -> None:
    (left_behind / name).write_text("kept")
    sweep(tmp_path)
    assert (left_behind / name).read_text() == "kept"
    assert (left_behind / "0" / "copy.fits").is_file()


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "something else"},
        {"host": "another-machine"},
        {"host": None},
    ],
)
def test_a_marker_must_say_that_this_machine_made_scratch(
    tmp_path: Path, left_behind: Path, change: dict[str, Any]
) -> None:
    marker = left_behind / scratch._MARKER
    facts = json.loads(marker.read_text())
    assert facts["host"] == socket.gethostname()
    marker.write_text(json.dumps({**facts, **change}))
    sweep(tmp_path)
    assert (left_behind / "0" / "copy.fits").is_file()


@pytest.mark.parametrize("text", ["", "{}", "[]", "5", "\ufeff{", "[" * 4000])
def test_a_damaged_marker_removes_nothing(tmp_path: Path, left_behind: Path, text: str) -> None:
    (left_behind / scratch._MARKER).write_text(text)
    sweep(tmp_path)
    assert (left_behind / "0" / "copy.fits").is_file()


def test_links_and_pipes_are_not_followed(tmp_path: Path, left_behind: Path) -> None:
    """Neither a folder nor a marker that is a link makes a folder elsewhere scratch; a pipe is not waited for."""
    elsewhere = tmp_path / "elsewhere"
    shutil.move(left_behind, elsewhere)
    (tmp_path / "unions-scanner-link").symlink_to(elsewhere)
    (tmp_path / "unions-scanner-marker").mkdir()
    (tmp_path / "unions-scanner-marker" / scratch._MARKER).symlink_to(elsewhere / scratch._MARKER)
    (tmp_path / "unions-scanner-pipe").mkdir()
    os.mkfifo(tmp_path / "unions-scanner-pipe" / scratch._MARKER)
    before = sorted(tmp_path.rglob("*"))
    sweep(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_scratch_of_another_user_stays(tmp_path: Path, left_behind: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: left_behind.stat().st_uid + 1)
    sweep(tmp_path)
    assert (left_behind / "0" / "copy.fits").is_file()


def test_scratch_on_a_disk_without_locks(tmp_path: Path, left_behind: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves its own process; what others left is not removed, because they may still run."""

    def refuse(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(scratch.fcntl, "flock", refuse)
    with Scratch(tmp_path) as own:
        assert own.new_folder().is_dir()
    assert list(tmp_path.iterdir()) == [left_behind]
