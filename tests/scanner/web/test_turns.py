"""Who waits for whom: the cutter for a ranking, and searches for one another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from threadpoolctl import threadpool_limits

from catalogs.errors import ScannerError
from scanner.cli import main
from scanner.hunt.cutter import Cutter
from scanner.hunt.round import CUT, WAITING
from scanner.web import hunter as hunters
from scanner.web import site as sites
from scanner.web.hunter import Hunter
from scanner.web.question import Question
from scanner.web.site import Site
from tests.support import blas

LONG = 60
"""Seconds after which a test has failed."""


@pytest.fixture
def site(client: TestClient) -> Site:
    found: Site = client.app.state.site  # type: ignore[attr-defined]
    return found


def test_the_cutter_waits_until_no_ranking_is_under_way(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hunter = Hunter(site, tmp_path / "project", "me")
    waiting, under_way = threading.Event(), []
    wait, cut = hunter._nobody_waits.wait, Cutter.__call__

    def wait_as_long_as_it_takes(seconds: float) -> bool:
        waiting.set()
        return wait(LONG)

    def watched(self: Cutter, *place: object) -> object:
        under_way.append(hunter._rankings)
        return cut(self, *place)  # type: ignore[arg-type]

    monkeypatch.setattr(hunter._nobody_waits, "wait", wait_as_long_as_it_takes)
    monkeypatch.setattr(Cutter, "__call__", watched)
    with hunter.ranking():
        made = hunter.add(site.ask(Question(sort="-snr", limit=4)).rows[:4], "", "")
        assert waiting.wait(LONG)
        with hunter.ranking():
            pass
        assert (made.states == WAITING).all()
    assert hunter._thread is not None
    hunter._thread.join()
    assert under_way == [0, 0, 0, 0]
    assert (made.states == CUT).all()


def test_the_cutter_does_not_wait_for_ever(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hunters, "PATIENCE", 0.0)
    hunter = Hunter(site, tmp_path / "project", "me")
    with hunter.ranking():
        made = hunter.add(site.ask(Question(sort="-snr", limit=4)).rows[:4], "", "")
        assert hunter._thread is not None
        hunter._thread.join()
        assert (made.states == CUT).all()


def test_as_many_searches_run_as_there_are_turns(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    turns, inside, most, counting = 3, 0, 0, threading.Lock()
    full, ask = threading.Barrier(turns), sites.ask_together

    def counted(*args: object) -> object:
        nonlocal inside, most
        with counting:
            inside += 1
            most = max(most, inside)
        # Nobody goes on before all turns are taken.
        full.wait(LONG)
        answer = ask(*args)  # type: ignore[arg-type]
        with counting:
            inside -= 1
        return answer

    monkeypatch.setattr(sites, "ask_together", counted)
    monkeypatch.setattr(site, "_turns", threading.BoundedSemaphore(turns))
    ids = site.ask(Question(sort="-snr", limit=4 * turns)).rows["object_id"].tolist()[: 4 * turns]
    with ThreadPoolExecutor(len(ids)) as pool:
        at_once = list(pool.map(lambda one: site.ask(Question(id=[one], limit=7)).rows, ids))
    assert most == turns
    monkeypatch.setattr(sites, "ask_together", ask)
    site._answers.clear()
    for one, rows in zip(ids, at_once, strict=True):
        assert rows["object_id"].tolist() == site.ask(Question(id=[one], limit=7)).rows["object_id"].tolist()


def test_a_search_that_fails_gives_its_turn_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "_turns", threading.BoundedSemaphore(1))
    one = int(site.ask(Question(limit=1)).rows["object_id"][0])
    for asked in (Question(id=[one], where="mag_r <"), Question(where="mag_r <"), Question(id=[one], where="no_such")):
        with pytest.raises(ScannerError):
            site.ask(asked)
        assert len(site.ask(Question(id=[one], limit=3, seed=len(asked.id))).rows)


@pytest.mark.skipif(not blas.threads(), reason="this BLAS has no number of threads")
def test_requests_compute_on_one_core(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def serve(*_: object, **__: object) -> None:
        seen.append(blas.threads())

    monkeypatch.setattr("scanner.web.server.serve", serve)
    with threadpool_limits(3, "blas"):
        done = CliRunner().invoke(main, ["serve", "--catalog", str(catalogue)])
    assert (done.exit_code, seen) == (0, [{1}]), done.output
