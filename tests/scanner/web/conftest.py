"""The page on the shipped tile, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import catalogs
from scanner.cli.demo import DEMO
from scanner.web.app import make_app
from scanner.web.hunter import Hunter
from scanner.web.site import Site
from tests.support import demo_site


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_site.scan(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def client(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    site = Site(catalogs.open(catalogue), root=DEMO)
    hunter = Hunter(site, tmp_path_factory.mktemp("hunt") / "project", "inspector")
    app = make_app(site, hunter, demo_site.TOKEN)
    headers = {"authorization": f"Bearer {demo_site.TOKEN}"}
    with TestClient(app, "http://localhost", headers=headers, follow_redirects=False) as made:
        yield made
    hunter.stop()
