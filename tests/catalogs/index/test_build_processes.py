"""Shards built in processes of their own, and what happens when one dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import catalogs
from catalogs import atomic, parallel
from catalogs.errors import ScannerError
from catalogs.index import build
from catalogs.index.build import IndexOptions, build_index
from tests.support import survival
from tests.support.small_disk import small_disk
from tests.support.waiting import until


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_build_the_same_index(survey, monkeypatch):
    build_index(survey, IndexOptions(shard_rows=700))
    folder = survey.path / "index"
    alone = {path.name: path.read_bytes() for path in folder.glob("shard-*")}
    for path in folder.glob("shard-*"):
        path.unlink()
    monkeypatch.setattr(build, "_IN_THIS_PROCESS", 0)
    report = build_index(survey, IndexOptions(shard_rows=700, jobs=2))
    assert len(report.built) == 3
    assert {path.name: path.read_bytes() for path in folder.glob("shard-*")} == alone
    before = os.umask(0)
    os.umask(before)
    assert all(path.stat().st_mode & 0o777 == 0o666 & ~before for path in folder.glob("shard-*"))


def test_answers_come_in_order(tmp_path):
    assert list(parallel.each([partial(pow, 2, n) for n in range(5)], 2, tmp_path)) == [1, 2, 4, 8, 16]
    assert list(parallel.each([], 2, tmp_path)) == []


def test_a_process_that_was_killed_is_an_error_with_a_way_out(tmp_path):
    with pytest.raises(ScannerError) as refused:
        list(parallel.each([die, die], 2, tmp_path))
    assert refused.value.code in ("index.process_died", "output.full")
    assert "same command again" in refused.value.hint


def die_while_writing(catalogue, name, *_):
    with atomic.replacing(catalogue / "index" / f"{name}.ann", clear=False):
        die()


def test_what_killed_processes_were_writing_is_removed(survey, monkeypatch):
    """Not so the file of another process, which builds its share of the index."""
    monkeypatch.setattr(build, "_IN_THIS_PROCESS", 0)
    monkeypatch.setattr(build, "_build_shard", die_while_writing)
    with atomic.replacing(survey.path / "index" / "share.ann") as running:
        with pytest.raises(ScannerError):
            build_index(survey, IndexOptions(shard_rows=700, jobs=2))
        assert list(survey.path.rglob("*.tmp")) == [running]


def wrong(number):
    raise ScannerError("index.damaged", f"shard {number}", "a hint")


def test_what_a_process_raises_is_raised_here(tmp_path):
    answers = parallel.each([partial(pow, 2, 3), partial(wrong, 1), partial(wrong, 2)], 2, tmp_path)
    assert next(answers) == 8
    with pytest.raises(ScannerError, match="shard 1") as refused:
        next(answers)
    assert (refused.value.code, refused.value.hint) == ("index.damaged", "a hint")
    assert "in wrong" in refused.value.__notes__[0]


def test_answers_that_nobody_takes_end_the_processes(tmp_path):
    answers = parallel.each([os.getpid] * 3, 2, tmp_path)
    worker = next(answers)
    answers.close()
    assert worker != os.getpid()
    until(lambda: not survival.alive(worker))


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="what a process maps is read from /proc")
def test_no_process_has_a_file_in_shared_memory(tmp_path):
    """When all of a group are killed, nobody is left to remove it."""

    def shared(process):
        return [line for line in Path(f"/proc/{process}/maps").read_text().splitlines() if "/dev/shm/" in line]

    before = shared(os.getpid())  # other tests of this process may have left some
    answers = parallel.each([os.getpid, partial(time.sleep, 0.1), os.getpid], 2, tmp_path)
    worker = next(answers)
    assert not shared(worker)
    assert shared(os.getpid()) == before
    # What the executor of the standard library would have:
    context = multiprocessing.get_context("spawn")
    lock = context.Lock()
    assert len(shared(os.getpid())) > len(before)
    del lock
    assert len(list(answers)) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_workers_end_with_their_parent(tmp_path):
    script = """
import sys
from functools import partial
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from catalogs import parallel
import workers
list(parallel.each([partial(workers.wait, Path(sys.argv[1]))], 1, Path(".")))
"""
    (tmp_path / "workers.py").write_text(
        "import os, time\ndef wait(path):\n    path.write_text(str(os.getpid()))\n    time.sleep(3600)\n"
    )
    told = tmp_path / "pid"
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[3]}{os.pathsep}{tmp_path}"}
    parent = subprocess.Popen([sys.executable, "-c", script, str(told), str(tmp_path)], env=environment)
    until(lambda: told.exists() and told.read_text())
    worker = int(told.read_text())
    parent.kill()
    parent.wait()
    until(lambda: not survival.alive(worker))


@pytest.mark.parametrize("looked", [True, False], ids=["foreseen", "unforeseen"])
@pytest.mark.parametrize("jobs", [None, 1])
def test_a_full_disk_harms_nothing(tmp_path, run, make_rows, write_tile, monkeypatch, looked, jobs):
    """Foreseen by looking for room; unforeseen, a process of its own is killed by the system, and this one is not."""
    with small_disk(tmp_path / "disk", 1_000_000) as disk:
        catalogue = catalogs.create(disk / "embeddings", run)
        write_tile(catalogue, "1.1", make_rows(1, np.linspace(0, 1, 3000), np.linspace(0, 1, 3000)))
        expected = list(catalogue.neighbours(vector=np.ones(16), k=5)["object_id"])
        monkeypatch.setattr(build, "_IN_THIS_PROCESS", 0)
        if not looked:
            monkeypatch.setattr(build, "_check_space", lambda *_: None)
        (disk / "ballast").write_bytes(bytes(300_000))
        with pytest.raises(ScannerError) as refused:
            build_index(catalogue, IndexOptions(jobs=jobs))
        assert refused.value.code == "output.full"
        assert list(catalogue.neighbours(vector=np.ones(16), k=5)["object_id"]) == expected
