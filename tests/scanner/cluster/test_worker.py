"""A worker's own scan: begun with its first tile, ended when nobody wants it any more, and begun again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("distributed")

import catalogs
from catalogs.errors import ScannerError
from scanner.cluster import worker
from scanner.cluster.job import WorkerJob
from scanner.cluster.worker import TileWorker
from scanner.encoder.encoder import Encoder
from scanner.scan.options import ScanOptions
from scanner.scan.run import make_run
from scanner.survey import survey, tile_list
from tests.support import small_tiles
from tests.support.waiting import until

UNIONS = survey.load("unions")
NAMES = small_tiles.names(3)


@pytest.fixture
def station(encoder: Encoder, tmp_path: Path) -> Iterator[TileWorker]:
    """A plugin as Dask would set it up; its catalogue is ``tmp_path / "out"``, and it has no tiles yet."""
    options = ScanOptions(readers=0)
    run = make_run(UNIONS, encoder, options)
    catalogs.create(tmp_path / "out", run)
    for name in NAMES:
        small_tiles.write(tmp_path, name, size=120, objects=6, bands="r")
    plugin = TileWorker(WorkerJob(UNIONS, options, run, str(encoder.path), tmp_path / "out", device="cpu", cores=1))
    plugin.setup(SimpleNamespace(address="tcp://10.0.0.1:1", name=0))
    yield plugin
    plugin.teardown(None)


def scanned(plugin: TileWorker, folder: Path, name: str) -> str:
    return plugin.scan(tile_list.find(UNIONS, name, folder), alone=False).status


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_a_worker_that_is_given_nothing_lets_go_and_can_begin_again(
    station: TileWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked for the scan may have been killed; the workers of a shared cluster, and their GPUs, are others' too."""
    assert scanned(station, tmp_path, NAMES[0]) == "done"
    assert "endless-scan" in threads()
    monkeypatch.setattr(worker, "IDLE", 0.3)
    until(lambda: not threads() & {"endless-scan", "writer"})
    assert [scanned(station, tmp_path, name) for name in NAMES] == ["skipped", "done", "done"]


def test_nothing_is_begun_after_the_scan_was_stopped(station: TileWorker, tmp_path: Path) -> None:
    """A task may have waited at the gate meanwhile."""
    station.teardown(None)
    with pytest.raises(ScannerError) as caught:
        scanned(station, tmp_path, NAMES[0])
    assert caught.value.code == "cluster.stopped"
    assert station._scan is None


def test_a_scan_that_fails_at_once_says_why(station: TileWorker, tmp_path: Path) -> None:
    """However quickly: its first tile hears of it, and the next one tries again."""
    (tmp_path / "out" / "catalogue.json").rename(tmp_path / "away")
    for _ in range(20):
        with pytest.raises(ScannerError) as caught:
            scanned(station, tmp_path, NAMES[0])
        assert caught.value.code == "catalogue.missing"
    (tmp_path / "away").rename(tmp_path / "out" / "catalogue.json")
    assert scanned(station, tmp_path, NAMES[0]) == "done"
