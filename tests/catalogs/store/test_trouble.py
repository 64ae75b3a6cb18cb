"""Disks without locks, room or permission: each refusal has its code, and the catalogue can still be read."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time

import pytest

import catalogs
from catalogs import atomic
from catalogs.errors import ScannerError
from tests.support.small_disk import remount, small_disk

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals, limits and locks of POSIX")


def test_a_read_only_disk_says_so_and_can_still_be_asked(tmp_path, run, make_rows, write_tile):
    with small_disk(tmp_path / "disk", 256_000) as disk:
        catalogue = catalogs.create(disk / "embeddings", run)
        write_tile(catalogue, "1.1", make_rows(1, [10.0, 10.1], [20.0, 20.1]))
        remount(disk, "ro")
        for attempt in (
            lambda: write_tile(catalogue, "2.1", make_rows(2, [1.0], [1.0])),
            lambda: catalogs.create(disk / "other", run),
            lambda: catalogue.record_failure("3.1", "tile.all_nan", "No band has data."),
        ):
            with pytest.raises(ScannerError) as refused:
                attempt()
            assert refused.value.code == "output.read_only"
        assert len(catalogs.open(disk / "embeddings").cone(10.0, 20.0, 60)) == 1


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


@pytest.mark.skipif(sys.platform == "win32", reason="no flock there")
def test_a_lock_that_is_removed_while_others_wait_has_one_owner_at_a_time(tmp_path):
    """Its owner removes it at the end; who waited for that file must not hold it beside the owner of the next."""
    path, inside, most = tmp_path / ".lock", [], []

    def work() -> None:
        for _ in range(20):
            with atomic.locked(path, temporary=True):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert not path.exists()


def test_temporaries_that_killed_runs_left_of_a_file_are_cleared_with_it(tmp_path):
    """Others may be in use by programs of the user, and the one of a running writer is."""
    for name in (".a[1].csv.0123456789ab.tmp", ".b.csv.0123456789ab.tmp", ".a1.csv.0123456789ab.tmp"):
        (tmp_path / name).touch()
    with atomic.replacing(tmp_path / "a[1].csv") as running:
        running.touch()
        atomic.write_text(tmp_path / "a[1].csv", "text")
        assert running.exists()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".a1.csv.0123456789ab.tmp", ".b.csv.0123456789ab.tmp", "a[1].csv"]


def test_a_folder_in_the_place_of_a_file_has_a_code(tmp_path):
    (tmp_path / "file").mkdir()
    for manager in (atomic.replacing(tmp_path / "file"), atomic.locked(tmp_path / "file")):
        with pytest.raises(ScannerError) as refused, manager:
            pass
        assert refused.value.code == "output.read_only"
        assert str(tmp_path / "file") in refused.value.message


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/proc/self/fd/1")], ids=["pipe", "stdout"])
def test_a_stream_that_a_user_names_is_not_replaced(tmp_path, make):
    make(tmp_path / "stream")
    kind = (tmp_path / "stream").lstat().st_mode
    with pytest.raises(ScannerError) as refused:
        atomic.write_text(tmp_path / "stream", "text")
    assert refused.value.code == "output.read_only"
    assert (tmp_path / "stream").lstat().st_mode == kind


@pytest.mark.parametrize("manager", [atomic.replacing, atomic.locked])
@pytest.mark.parametrize("name", ["/proc/none/file", "x" * 300, "loop/file"])
def test_a_path_that_no_file_can_have_has_a_code(tmp_path, manager, name):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ScannerError) as refused, manager(tmp_path / name):
        pass
    assert refused.value.code == "output.read_only"


def test_a_lock_that_is_a_loop_of_links_has_a_code(tmp_path):
    (tmp_path / ".lock").symlink_to(".lock")
    with pytest.raises(ScannerError) as refused, atomic.locked(tmp_path / ".lock"):
        pass
    assert refused.value.code == "output.read_only"
