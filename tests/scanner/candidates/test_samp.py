"""A list sent to astropy's own hub arrives at every program that loads tables, and the file is gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from astropy.table import Table

from catalogs.errors import ErrorCode, ScannerError
from scanner.candidates.samp import broadcast
from tests.support import samp_viewer
from tests.support.samp_viewer import Viewer

TABLE = Table({"object_id": [1, 2], "ra": [10.0, 20.0], "dec": [1.0, 2.0], "name": ["a", "ü"]})


@pytest.fixture
def hub() -> Iterator[None]:
    with samp_viewer.hub():
        yield


def test_every_viewer_gets_the_table(hub: None) -> None:
    failure = {"samp.status": "samp.error", "samp.error": {"samp.errortxt": "no memory"}, "samp.result": {}}
    with Viewer("viewer") as good, Viewer("other", failure):
        receivers = broadcast(TABLE, "lenses", 30)
    assert {one.name: one.problem for one in receivers} == {"viewer": "", "other": "no memory"}
    (table,) = good.tables
    assert table["ra"].tolist() == [10.0, 20.0]
    assert table["name"].tolist() == ["a", "ü"]
    assert not good.paths[0].exists()


def test_threads_of_a_server_take_turns(hub: None) -> None:
    from astropy.samp import conf

    before = conf.use_internet
    with Viewer("viewer") as viewer, ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(lambda name: broadcast(TABLE, name, 60), "abcd"))
    assert sorted(viewer.names) == list("abcd")
    assert [one.problem for receivers in sent for one in receivers] == [""] * 4
    assert conf.use_internet == before


def test_a_hub_without_viewers_is_said(hub: None) -> None:
    with pytest.raises(ScannerError) as error:
        broadcast(TABLE, "lenses")
    assert error.value.code == ErrorCode.SAMP_NO_RECEIVER


def test_without_a_hub_it_is_said() -> None:
    with pytest.raises(ScannerError) as error:
        broadcast(TABLE, "lenses")
    assert error.value.code == ErrorCode.SAMP_NO_HUB
