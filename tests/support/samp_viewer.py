"""A SAMP hub of a test, and programs that load tables from it, as TOPCAT does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from astropy.samp import SAMPHubServer, SAMPIntegratedClient, conf
from astropy.table import Table

from scanner.candidates.samp import LOAD_TABLE

OK = {"samp.status": "samp.ok", "samp.result": {}}


@contextlib.contextmanager
def hub() -> Iterator[None]:
    """Run the hub that ``$SAMP_HUB`` of the tests names, which no other program of this machine finds."""
    lock = url2pathname(urlparse(os.environ["SAMP_HUB"].partition(":")[2]).path)
    with conf.set_temp("use_internet", False):
        server = SAMPHubServer(web_profile=False, lockfile=lock, mode="single")
        server.start()
        try:
            yield
        finally:
            server.stop()


class Viewer:
    """A program that is connected to the hub, and answers each table that it loads with ``answer``."""

    def __init__(self, name: str, answer: dict[str, Any] = OK) -> None:
        self.tables: list[Table] = []
        self.paths: list[Path] = []
        self.names: list[str] = []
        self._answer = answer
        self.client = SAMPIntegratedClient(name=name)
        self.client.connect()
        self.client.bind_receive_call(LOAD_TABLE, self._load)

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()

    def _load(self, key: str, sender: str, ident: str, mtype: str, params: dict[str, str], extra: object) -> None:
        path = Path(url2pathname(urlparse(params["url"]).path))
        self.paths.append(path)
        self.names.append(params["name"])
        self.tables.append(Table.read(path, format="votable"))
        self.client.reply(ident, self._answer)
