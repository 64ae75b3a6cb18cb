"""Semaphores of killed processes are removed by the next one that makes some; those of others stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scanner.system import semaphores

pytestmark = pytest.mark.skipif(not semaphores.FOLDER.is_dir(), reason="semaphores are files on Linux alone")

KILLED = """
import multiprocessing, os, signal
from scanner.system.semaphores import mark_semaphores
mark_semaphores()
queue = multiprocessing.get_context("spawn").Queue()
print(os.getpid(), flush=True)
os.killpg(os.getpid(), signal.SIGKILL)
"""
SWEEPS = "from scanner.system.semaphores import mark_semaphores; mark_semaphores()"


def start(code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code]
    return subprocess.Popen(
        command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def of(process: int) -> list[Path]:
    return list(semaphores.FOLDER.glob(f"sem.unions-scanner-*-{process}-*"))


@pytest.fixture
def others() -> Iterator[list[Path]]:
    """Files that the name does not make ours, or whose process runs."""
    numbering = Path("/proc/self/ns/pid").stat().st_ino
    names = [f"unions-scanner-{numbering}-{os.getpid()}-x", f"unions-scanner-{numbering + 1}-999999999-x",
             "unions-scanner-notes", "mp-999999999", f"unions-scanner-{numbering}-999999999"]  # fmt: skip
    paths = [semaphores.FOLDER / f"sem.{name}" for name in names]
    for path in paths:
        path.touch()
    yield paths
    for path in paths:
        path.unlink(missing_ok=True)


def test_the_next_process_removes_what_a_killed_group_left(others: list[Path]) -> None:
    killed = start(KILLED)
    out, _ = killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    process = int(out)
    assert of(process)
    assert start(SWEEPS).wait() == 0
    assert not of(process)
    assert all(path.exists() for path in others)


def test_semaphores_still_work_and_go_with_their_process() -> None:
    code = SWEEPS + (
        "\nimport multiprocessing, os\n"
        "if __name__ == '__main__':\n"
        "    lock = multiprocessing.get_context('spawn').Lock()\n"
        "    with lock: print(os.getpid())\n"
    )
    done = start(code)
    out, _ = done.communicate()
    assert done.returncode == 0
    assert not of(int(out))
