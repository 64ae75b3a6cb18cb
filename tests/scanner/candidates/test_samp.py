"""A list sent to astropy's own hub arrives at every program that loads tables, and the file is gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest
from astropy.samp import SAMPHubServer, SAMPIntegratedClient, conf
from astropy.table import Table

from catalogs.errors import ErrorCode, ScannerError
from scanner.candidates.samp import LOAD_TABLE, broadcast

TABLE = Table({"object_id": [1, 2], "ra": [10.0, 20.0], "dec": [1.0, 2.0], "name": ["a", "ü"]})


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SAMPHubServer]:
    """A hub of its own, which no other program of this machine finds."""
    lock = tmp_path / "hub.lock"
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{lock.as_uri()}")
    with conf.set_temp("use_internet", False):
        server = SAMPHubServer(web_profile=False, lockfile=str(lock), mode="single")
        server.start()
        try:
            yield server
        finally:
            server.stop()


class Viewer:
    """A program that loads tables, as TOPCAT does."""

    def __init__(self, name: str, answer: dict[str, Any]) -> None:
        self.tables: list[Table] = []
        self.paths: list[Path] = []
        self._answer = answer
        self.client = SAMPIntegratedClient(name=name)
        self.client.connect()
        self.client.bind_receive_call(LOAD_TABLE, self._load)

    def _load(self, key: str, sender: str, ident: str, mtype: str, params: dict[str, str], extra: object) -> None:
        path = Path(url2pathname(urlparse(params["url"]).path))
        self.paths.append(path)
        self.tables.append(Table.read(path, format="votable"))
        self.client.reply(ident, self._answer)


def test_every_viewer_gets_the_table(hub: SAMPHubServer) -> None:
    good = Viewer("viewer", {"samp.status": "samp.ok", "samp.result": {}})
    bad = Viewer(
        "other", {"samp.status": "samp.error", "samp.error": {"samp.errortxt": "no memory"}, "samp.result": {}}
    )
    try:
        receivers = broadcast(TABLE, "lenses", 30)
    finally:
        for one in (good, bad):
            one.client.disconnect()
    assert {one.name: one.problem for one in receivers} == {"viewer": "", "other": "no memory"}
    (table,) = good.tables
    assert table["ra"].tolist() == [10.0, 20.0]
    assert table["name"].tolist() == ["a", "ü"]
    assert not good.paths[0].exists()


def test_a_hub_without_viewers_is_said(hub: SAMPHubServer) -> None:
    with pytest.raises(ScannerError) as error:
        broadcast(TABLE, "lenses")
    assert error.value.code == ErrorCode.SAMP_NO_RECEIVER


def test_without_a_hub_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'none').as_uri()}")
    with pytest.raises(ScannerError) as error:
        broadcast(TABLE, "lenses")
    assert error.value.code == ErrorCode.SAMP_NO_HUB
