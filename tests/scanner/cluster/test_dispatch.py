"""A scan by many workers gives the rows of a scan by one, whatever dies on the way: real processes, really killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("distributed")

from distributed import Client, LocalCluster, SchedulerPlugin

import catalogs
from catalogs import atomic
from catalogs.errors import ScannerError
from scanner.cluster import deploy
from scanner.cluster import workers as cluster_workers
from scanner.cluster.job import WorkerSource
from scanner.cluster.run import scan_tiles as scan_on_cluster
from scanner.cluster.workers import Workers
from scanner.encoder.encoder import Encoder
from scanner.scan.options import ScanOptions
from scanner.scan.progress import Quiet
from scanner.scan.report import ScanReport, TileReport
from scanner.scan.run import make_run, scan_tiles
from scanner.survey import survey, tile_list
from tests.support import small_tiles
from tests.support.dask_workers import two_workers
from tests.support.deadly import Deadly, DeadlyRename
from tests.support.waiting import until

UNIONS = survey.load("unions")
NAMES = small_tiles.names(16)
CUT_SHORT, DEADLY = NAMES[3], NAMES[6]
OPTIONS = ScanOptions(readers=1)

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes"),
]


class Notes(Quiet):
    """Remembers every tile that ended."""

    def __init__(self) -> None:
        self.ended: list[TileReport] = []

    def finished(self, report: TileReport) -> None:
        self.ended.append(report)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen small tiles, one of which is cut short."""
    made = tmp_path_factory.mktemp("unions")
    for name in NAMES:
        small_tiles.write(made, name, size=160, objects=10)
    spoilt = small_tiles.band_file(made, CUT_SHORT, "r")
    spoilt.write_bytes(spoilt.read_bytes()[:20000])
    return made


@pytest.fixture(scope="module")
def plain(folder: Path, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every tile's file as a scan in this process makes it."""
    out = tmp_path_factory.mktemp("plain")
    run = make_run(UNIONS, encoder, OPTIONS)
    listed = [tile_list.find(UNIONS, name, folder) for name in NAMES]
    options = ScanOptions(readers=0)
    scan_tiles(listed, UNIONS, encoder, catalogs.create(out, run), run, options)
    return contents(out)


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalCluster]:
    with two_workers(deploy.SETTINGS) as started:
        yield started


def contents(out: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted((out / "tiles").glob("*.parquet"))}


class Held(Notes):
    """Lets the scan stand still when so many tiles have ended, until it is released."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at
        self.reached, self.release = threading.Event(), threading.Event()

    def finished(self, report: TileReport) -> None:
        super().finished(report)
        if len(self.ended) == self._at:
            self.reached.set()
            self.release.wait()


class Bench:
    def __init__(self, folder: Path, encoder: Encoder, out: Path) -> None:
        self.folder, self.encoder, self.out = folder, encoder, out
        self.notes = Notes()

    def scan(self, where: WorkerSource, names: list[str] = NAMES, options: ScanOptions = OPTIONS) -> ScanReport:
        run = make_run(UNIONS, self.encoder, options)
        catalogue = catalogs.create(self.out, run)
        listed = (tile_list.find(UNIONS, name, self.folder) for name in names)
        return scan_on_cluster(
            listed, UNIONS, self.encoder, catalogue, run, options, where, device="cpu", progress=self.notes
        )


@pytest.fixture
def bench(folder: Path, encoder: Encoder, tmp_path: Path) -> Bench:
    return Bench(folder, encoder, tmp_path / "catalogue")


def test_every_healthy_tile_exactly_once_whatever_dies(
    bench: Bench, workers: LocalCluster, plain: dict[str, bytes]
) -> None:
    """One tile kills every worker that begins it, one is cut short, and one worker dies of something else."""

    def kill_one() -> None:
        until(lambda: len(bench.notes.ended) >= 9)
        with contextlib.suppress(ProcessLookupError, TypeError):
            os.kill(workers.workers[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_one, daemon=True)
    with Client(workers, set_as_default=False) as client:
        client.register_plugin(Deadly(DEADLY), name="deadly")
        killer.start()
        report = bench.scan(WorkerSource(address=workers.scheduler_address))
        killer.join()
        client.unregister_worker_plugin("deadly")
    assert sorted(tile.tile for tile in report.tiles) == sorted(NAMES)
    assert tuple(bench.notes.ended) == report.tiles
    assert {tile.tile: tile.code for tile in report.failed} == {
        CUT_SHORT: "tile.truncated",
        DEADLY: "tile.kills_workers",
    }
    assert "3 times" in next(tile.message for tile in report.failed if tile.tile == DEADLY)
    assert contents(bench.out) == {name: plain[name] for name in NAMES if name not in (CUT_SHORT, DEADLY)}
    failures = {failure.tile: failure for failure in catalogs.open(bench.out).failures()}
    assert set(failures) == {CUT_SHORT, DEADLY}
    assert failures[DEADLY].attempts == 1
    assert failures[CUT_SHORT].attempts <= 2  # a worker that dies between writing it down and saying so: read again
    assert not list(bench.out.rglob("*.tmp"))

    again = bench.scan(WorkerSource(address=workers.scheduler_address))  # and now it does not kill
    assert (again.count("done"), again.count("skipped")) == (1, len(NAMES) - 2)
    assert contents(bench.out) == plain
    assert [failure.tile for failure in catalogs.open(bench.out).failures()] == [CUT_SHORT]


def test_a_scheduler_of_others_with_the_settings_of_dask(bench: Bench, plain: dict[str, bytes]) -> None:
    """It lets a task kill four workers before it says a word, and those that were there go round with it."""
    names = NAMES[:8]
    theirs = {"distributed.scheduler.allowed-failures": 3, "distributed.scheduler.work-stealing": True}
    with two_workers(theirs) as others, Client(others, set_as_default=False) as client:
        assert others.scheduler.allowed_failures == 3
        client.register_plugin(Deadly(DEADLY), name="deadly")
        report = bench.scan(WorkerSource(address=others.scheduler_address), names)
    assert sorted(tile.tile for tile in report.tiles) == names
    assert {tile.tile: tile.code for tile in report.failed} == {
        CUT_SHORT: "tile.truncated",
        DEADLY: "tile.kills_workers",
    }
    assert contents(bench.out) == {name: plain[name] for name in names if name not in (CUT_SHORT, DEADLY)}
    assert not list(bench.out.rglob("*.tmp"))


def test_what_killed_workers_were_writing_is_removed_and_nothing_else(bench: Bench, plain: dict[str, bytes]) -> None:
    """Both a tile and the record of a failure; another scan writes beside them, and goes on."""
    deadly = [f"{DEADLY}.parquet", f"{CUT_SHORT}.json"]
    with (
        two_workers(deploy.SETTINGS) as others,
        Client(others, set_as_default=False) as client,
        atomic.replacing(bench.out / "tiles" / "other.parquet") as tile,
        atomic.replacing(bench.out / "failures" / "other.json") as record,
    ):
        for name in deadly:
            client.register_plugin(DeadlyRename(name), name=name)
        report = bench.scan(WorkerSource(address=others.scheduler_address), [NAMES[0], CUT_SHORT, DEADLY])
        assert set(bench.out.rglob("*.tmp")) == {tile, record}
    assert {tile.tile: tile.code for tile in report.failed} == dict.fromkeys((CUT_SHORT, DEADLY), "tile.kills_workers")
    assert contents(bench.out)[NAMES[0]] == plain[NAMES[0]]


def test_a_tile_is_not_blamed_for_a_worker_that_was_gone_before_it_came(
    bench: Bench, plain: dict[str, bytes], workers: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler is asked once a second who is there. One more death, and this tile would be put aside."""
    looks = []
    update = Workers.update

    def late(found: Workers) -> bool:
        asked = update(found)
        looks.append(asked)
        if asked and sum(looks) <= 2:
            found.addresses.insert(0, f"tcp://127.0.0.1:{free_port()}")
        return asked

    monkeypatch.setattr(Workers, "update", late)
    catalogue = catalogs.create(bench.out, make_run(UNIONS, bench.encoder, OPTIONS))
    catalogue.record_failure(NAMES[0], "tile.kills_workers", "Workers died.", "")
    monkeypatch.setitem(workers.scheduler.__dict__, "allowed_failures", 3)
    report = bench.scan(WorkerSource(address=workers.scheduler_address), NAMES[:2])
    assert report.count("done") == 2
    assert contents(bench.out) == {name: plain[name] for name in NAMES[:2]}


class Crowd(SchedulerPlugin):  # type: ignore[misc]
    """The most tiles that one worker, and that all, had in hand."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self.most = self.most_of_all = 0

    def transition(self, *_: Any, **__: Any) -> None:
        held = [len(worker.processing) for worker in self._scheduler.workers.values()]
        self.most, self.most_of_all = max(self.most, *held), max(self.most_of_all, sum(held))


def test_a_worker_has_few_tiles_in_hand(bench: Bench, workers: LocalCluster) -> None:
    """One that is embedded and one that is read: what dies with a worker is no more than that."""
    crowd = Crowd(workers.scheduler)
    workers.scheduler.add_plugin(crowd, name="crowd")
    report = bench.scan(WorkerSource(address=workers.scheduler_address))
    workers.scheduler.remove_plugin("crowd")
    assert report.count("done") == len(NAMES) - 1
    assert (crowd.most, crowd.most_of_all) == (2, 4)


def test_threads_of_a_worker_are_no_reason_for_more_tiles() -> None:
    client = SimpleNamespace(status="running", nthreads=lambda: {"tcp://a": 64, "tcp://b": 2, "tcp://c": 1})
    workers = Workers(client, at_once=3, patience=60)
    assert workers.update()
    assert workers.capacity == 3 + 2 + 1


def test_a_worker_that_is_back_at_its_address_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ``--worker-port``. Else each tile for it alone would be taken back at every look."""
    monkeypatch.setattr(cluster_workers, "LOOK", 0.0)
    there = {"tcp://a": 1}
    workers = Workers(SimpleNamespace(status="running", nthreads=lambda: there), at_once=1, patience=60)
    workers.update()
    there = {}
    workers.update()
    assert not workers.gone("tcp://a")
    workers.update()
    assert workers.gone("tcp://a")
    there = {"tcp://a": 1}
    workers.update()
    assert not workers.gone("tcp://a")


def test_a_scan_without_any_worker_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a scheduler came back to workers that Dask had ended."""
    monkeypatch.setattr(cluster_workers, "LOOK", 0.0)
    there: dict[str, int] = {}
    client = SimpleNamespace(status="running", nthreads=lambda: there)
    workers = Workers(client, at_once=1, patience=3600)
    assert workers.update()
    workers = Workers(client, at_once=1, patience=-1)
    there = {"tcp://a": 1}
    assert workers.update()
    there = {}
    with pytest.raises(ScannerError) as caught:
        workers.update()
    assert caught.value.code == "cluster.no_workers"


def test_a_set_up_that_is_wrong_on_a_worker_ends_the_scan(bench: Bench, workers: LocalCluster) -> None:
    run = make_run(UNIONS, bench.encoder, OPTIONS)
    listed = [tile_list.find(UNIONS, name, bench.folder) for name in NAMES]
    catalogue = catalogs.create(bench.out, run)
    with pytest.raises(ScannerError) as caught:
        scan_on_cluster(
            listed,
            UNIONS,
            bench.encoder,
            catalogue,
            run,
            OPTIONS,
            WorkerSource(address=workers.scheduler_address),
            device="cuda",
        )
    assert caught.value.code == "device.unavailable"
    assert "(worker tcp://" in caught.value.message
    assert not contents(bench.out)


def test_a_scheduler_that_is_not_there(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "CONNECT", 0.5)
    with pytest.raises(ScannerError) as caught:
        bench.scan(WorkerSource(address=f"tcp://127.0.0.1:{free_port()}"))
    assert caught.value.code == "cluster.no_scheduler"


def test_a_scheduler_that_comes_back(bench: Bench, plain: dict[str, bytes]) -> None:
    """Killed in the middle, it forgets everything; a new one at the same place, with a new worker, goes on."""
    port = free_port()
    processes = [dask_process("scheduler", "--port", port), worker(port)]
    found: list[ScanReport] = []
    bench.notes = held = Held(3)
    address = f"tcp://127.0.0.1:{port}"
    scanning = threading.Thread(target=lambda: found.append(bench.scan(WorkerSource(address=address))), daemon=True)
    try:
        until(lambda: listens(port))
        scanning.start()
        until(held.reached.is_set)
        processes[0].kill()
        processes[0].wait()
        held.release.set()
        processes += [dask_process("scheduler", "--port", port), worker(port)]
        scanning.join()
    finally:
        held.release.set()
        for process in processes:
            process.kill()
            process.wait()
    assert sorted(tile.tile for tile in found[0].tiles) == sorted(NAMES)
    assert (found[0].count("done"), found[0].count("skipped")) == (len(NAMES) - 1, 0)
    assert contents(bench.out) == plain
    assert found[0].objects == sum(catalogs.open(bench.out).rows(name) for name in plain)


def worker(port: int) -> subprocess.Popen[bytes]:
    return dask_process("worker", f"tcp://127.0.0.1:{port}", "--nthreads", 2, "--no-nanny", "--no-dashboard")


def dask_process(kind: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *map(str, arguments), "--host", "127.0.0.1"]
    root = str(Path(__file__).parents[3])
    return subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": root}, stderr=subprocess.DEVNULL)


def listens(port: int) -> bool:
    """Whether somebody answers at a port: on a busy machine a scheduler takes its time to start."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """One below those that systems give to clients, so that no connection takes it before it is listened at."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
            return int(probe.getsockname()[1])
