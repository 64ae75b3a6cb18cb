"""Kills, full disks, two writers: what is in the catalogue is whole, and the next run goes on."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import catalogs
from catalogs import atomic
from catalogs.errors import ScannerError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals, limits and locks of POSIX")

WRITER = """
import sys, resource
import numpy as np
import catalogs
from catalogs.store.provenance import Run

path, tile, after = sys.argv[1:4]
run = Run("unions", ("u", "g", "r"), "small", "a" * 64, {"embedding_dim": 16, "window": 64}, {"min_snr": 5.0})
catalogue = catalogs.create(path, run)
rng = np.random.default_rng(3)
def batch(count):
    rows = {field.name: rng.uniform(1, 2, count) for field in catalogue.schema}
    rows |= {name: np.full(count, "r") for name in ("detection_band", "bands_present")}
    rows |= {"object_id": np.arange(count), "flags": np.zeros(count, int), "is_primary": np.ones(count, bool)}
    rows["embedding"] = rng.normal(size=(count, 16)).astype(np.float32)
    del rows["tile"], rows["_healpix_29"]
    return rows
if after.startswith("limit"):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
with catalogue.writer(tile, run) as writer:
    writer.write(batch(70_000))
    print("writing", flush=True)
    if after == "wait":
        sys.stdin.read()
"""


def start(path: Path, tile: str, after: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), tile, after]
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)
    if after == "wait":
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
    return process


def temporaries(catalogue: catalogs.Catalogue) -> list[Path]:
    return list((catalogue.path / "tiles").glob(".*"))


def test_killed_while_writing_the_tile_is_not_there_and_the_next_run_cleans_up(catalogue, run):
    process = start(catalogue.path, "217.292", "wait")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert catalogue.tiles() == []
    assert not catalogue.done("217.292", run.digest)
    assert len(temporaries(catalogue)) == 1
    catalogs.create(catalogue.path, run)
    assert temporaries(catalogue) == []


def test_the_temporary_of_a_live_writer_is_left_alone(catalogue, run):
    process = start(catalogue.path, "217.292", "wait")
    catalogs.create(catalogue.path, run)
    assert len(temporaries(catalogue)) == 1
    process.communicate("")
    assert process.returncode == 0
    assert catalogue.done("217.292", run.digest)
    assert temporaries(catalogue) == []


def test_two_writers_of_one_tile_give_one_whole_file(catalogue, run):
    pair = [start(catalogue.path, "217.292", "wait") for _ in range(2)]
    for process in pair:
        process.communicate("")
        assert process.returncode == 0
    assert catalogue.done("217.292", run.digest)
    assert len(catalogue.table(["ra"])) == 70_000
    assert temporaries(catalogue) == []


def test_a_killed_run_repeated_gives_the_same_bytes(tmp_path, run):
    undisturbed = start(tmp_path / "a", "217.292", "finish")
    undisturbed.communicate()
    killed = start(tmp_path / "b", "217.292", "wait")
    killed.kill()
    killed.wait()
    start(tmp_path / "b", "217.292", "finish").communicate()
    first, second = (catalogs.open(tmp_path / home).tile_path("217.292").read_bytes() for home in "ab")
    assert first == second


def test_a_file_that_may_not_grow_is_a_full_output(catalogue):
    process = start(catalogue.path, "217.292", "limit")
    _, stderr = process.communicate()
    assert process.returncode == 1
    assert "ScannerError: " in stderr
    assert "no space left" in stderr
    assert catalogue.tiles() == []
    assert temporaries(catalogue) == []


@pytest.fixture
def tiny_disk(tmp_path):
    """A real file system of 256 kB, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk]).returncode:
        pytest.skip("mounting a small file system takes root")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_says_so_and_keeps_what_was_finished(tiny_disk, run, make_rows, write_tile):
    catalogue = catalogs.create(tiny_disk / "embeddings", run)
    write_tile(catalogue, "1.1", make_rows(1, np.linspace(0, 1, 100), np.linspace(0, 1, 100)))
    large = make_rows(2, np.linspace(0, 1, 20_000), np.linspace(0, 1, 20_000))
    with pytest.raises(ScannerError) as refused:
        write_tile(catalogue, "2.1", large)
    assert refused.value.code == "output.full"
    assert str(tiny_disk) in refused.value.message
    assert temporaries(catalogue) == []
    assert catalogue.done("1.1", run.digest)
    write_tile(catalogue, "3.1", make_rows(3, [1.0], [1.0]))


def test_a_read_only_disk_says_so_and_can_still_be_asked(tiny_disk, run, make_rows, write_tile):
    catalogue = catalogs.create(tiny_disk / "embeddings", run)
    write_tile(catalogue, "1.1", make_rows(1, [10.0, 10.1], [20.0, 20.1]))
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    for attempt in (
        lambda: write_tile(catalogue, "2.1", make_rows(2, [1.0], [1.0])),
        lambda: catalogs.create(tiny_disk / "other", run),
        lambda: catalogue.record_failure("3.1", "tile.all_nan", "No band has data."),
    ):
        with pytest.raises(ScannerError) as refused:
            attempt()
        assert refused.value.code == "output.read_only"
    assert len(catalogs.open(tiny_disk / "embeddings").cone(10.0, 20.0, 60)) == 1


@pytest.mark.parametrize(("number", "code"), [(errno.EDQUOT, "output.full"), (errno.EACCES, "output.read_only")])
def test_quota_and_permission_have_their_codes(tmp_path, number, code):
    with pytest.raises(ScannerError) as refused, atomic.replacing(tmp_path / "file"):
        raise OSError(number, os.strerror(number))
    assert refused.value.code == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no flock there")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_refused(tmp_path, run, monkeypatch, number):
    """Two scans that write there at once could not see each other."""

    def refuse(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic.fcntl, "flock", refuse)
    for attempt in (
        lambda: catalogs.create(tmp_path / "embeddings", run),
        lambda: atomic.write_text(tmp_path / "file", "text"),
    ):
        with pytest.raises(ScannerError) as refused:
            attempt()
        assert refused.value.code == "output.no_locks"
        assert os.strerror(number) in refused.value.message
        assert "-o flock" in refused.value.hint
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]


def test_other_errors_of_the_system_stay_what_they_are(tmp_path):
    with pytest.raises(IsADirectoryError), atomic.replacing(tmp_path / "file"):
        tmp_path.read_bytes()


def test_files_have_the_mode_the_user_asked_for(catalogue, make_rows, write_tile):
    before = os.umask(0o022)
    try:
        write_tile(catalogue, "1.1", make_rows(1, [1.0], [1.0]))
    finally:
        os.umask(before)
    assert catalogue.tile_path("1.1").stat().st_mode & 0o777 == 0o644


def test_a_lock_waits_for_its_owner(tmp_path):
    order: list[str] = []

    def second() -> None:
        with atomic.locked(tmp_path / ".lock"):
            order.append("second")

    with atomic.locked(tmp_path / ".lock"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
