"""The sky of the page: where tiles lie, how many objects each has, which failed, and an Aladin Lite of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

import catalogs
from catalogs.catalogue import Catalogue
from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky import unions_grid
from scanner.web.app import make_app
from scanner.web.site import Site
from scanner.web.sky import cover, read_aladin
from tests.support import catalogue_rows, demo_site

HTML = {"accept": "text/html"}
CONTRACT = {**catalogue_rows.RUN.contract, "bands": ["u", "g", "r"], "pixel_scale": 0.18577}
RUN = replace(catalogue_rows.RUN, contract=CONTRACT, grid="unions")
FULL, SMALL, FAILED = "217.292", "218.292", "219.292"
HOSTILE = "</script><script>alert(1)</script>"


def fill(catalogue: Catalogue, tile: str, reach: float, count: int, run: catalogue_rows.Run = RUN) -> None:
    """A tile whose objects lie within ``reach`` degrees of its centre in each direction."""
    ra, dec = unions_grid.centre(tile)
    right, up = np.random.default_rng(0).uniform(-reach, reach, (2, count))
    rows = catalogue_rows.make(int(tile.replace(".", "")), ra + right / np.cos(np.radians(dec)), dec + up)
    catalogue_rows.write(catalogue, tile, rows, run)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sky") / "embeddings"
    catalogue = Catalogue.create(path, RUN)
    fill(catalogue, FULL, 0.257, 400)
    fill(catalogue, SMALL, 0.05, 30)
    catalogue.record_failure(FAILED, ErrorCode.TILE_NO_WCS, f"Band r has no WCS {HOSTILE}.", "Download it again.")
    catalogue.record_failure(SMALL, ErrorCode.TILE_TRUNCATED, "The file is short.", "")
    catalogue.record_failure("off-the-grid", ErrorCode.TILE_NO_WCS, "No WCS.", "")
    return path


def ask(folder: Path, aladin: str | None = None) -> TestClient:
    app = make_app(Site(catalogs.open(folder), aladin=aladin), None, demo_site.TOKEN)
    return TestClient(app, "http://localhost", headers={"authorization": f"Bearer {demo_site.TOKEN}"})


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with ask(folder) as made:
        yield made


def test_tiles_lie_where_the_grid_has_them(client: TestClient) -> None:
    told = client.get("/sky").json()
    tiles = {one["tile"]: one for one in told["tiles"]}
    assert {name: one["objects"] for name, one in tiles.items()} == {FULL: 400, SMALL: 30}
    assert told["objects"] == 430
    for name, one in tiles.items():
        assert (one["ra"], one["dec"]) == unions_grid.centre(name)
        ra, dec = np.array(one["outline"]).T
        # On the rim of the image or inside it, but for the digits that were written.
        assert (unions_grid.distance(name, ra, dec) <= np.sqrt(2) * unions_grid.HALF_SIZE + 1e-6).all()
    corners = np.array(tiles[FULL]["outline"])
    assert unions_grid.distance(FULL, *corners.T) == pytest.approx(np.sqrt(2) * unions_grid.HALF_SIZE, abs=1e-6)
    # Objects in the middle of a tile do not cover the whole of it.
    assert np.degrees(unions_grid.distance(SMALL, *np.array(tiles[SMALL]["outline"]).T)).max() < 0.08
    full, small = 0.25, np.pi * 0.05**2
    assert full + small < told["area"] < full + 2.2 * small
    assert abs(told["at"][1] - 56) < 0.3
    assert told["field"] < 6


def test_failures_come_with_their_message_and_place(client: TestClient) -> None:
    failures = {one["tile"]: one for one in client.get("/sky").json()["failures"]}
    assert set(failures) == {FAILED, SMALL, "off-the-grid"}
    assert (failures[FAILED]["ra"], failures[FAILED]["dec"]) == unions_grid.centre(FAILED)
    assert failures["off-the-grid"]["ra"] is None
    some = client.get(f"/sky?code={ErrorCode.TILE_TRUNCATED}").json()["failures"]
    assert [one["tile"] for one in some] == [SMALL]
    chosen = client.get(f"/sky?tile={FAILED}").json()["chosen"]
    assert chosen["failure"]["hint"] == "Download it again."
    assert chosen["objects"] is None
    both = client.get(f"/sky?tile={SMALL}").json()["chosen"]
    assert (both["objects"], both["failure"]["attempts"]) == (30, 1)
    for address in ("/sky", f"/sky?tile={FAILED}", f"/sky?tile={HOSTILE}"):
        page = client.get(address, headers=HTML)
        assert HOSTILE not in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert "Band r has no WCS" in client.get("/sky", headers=HTML).text


def test_a_tile_leads_to_a_search_of_its_objects(client: TestClient) -> None:
    page = client.get(f"/sky?tile={FULL}", headers=HTML).text
    address = page.split('<a class="button" href="')[1].split('"')[0].replace("&amp;", "&").replace("&#34;", '"')
    rows = client.get(f"{address}&limit=500").json()["rows"]
    assert {row["tile"] for row in rows} == {FULL}
    assert len(rows) == 400
    assert client.get("/sky?tile=1.1").status_code == 404
    assert client.get("/sky?at=1,99").json()["code"] == ErrorCode.SKY_OUT_OF_RANGE
    assert client.get("/sky?at=-10,20&field=30").json()["at"] == [350, 20]


def test_the_sky_of_a_survey_without_a_grid_of_a_pole_and_of_nothing(tmp_path: Path) -> None:
    empty = Catalogue.create(tmp_path / "empty", RUN)
    assert ask(empty.path).get("/sky").json()["field"] == 360
    free = replace(RUN, grid=None)
    catalogue = Catalogue.create(tmp_path / "free", free)
    turn = np.arange(0, 360, 20.0)
    catalogue_rows.write(catalogue, "polar", catalogue_rows.make(7, turn, np.full(len(turn), 89.0)), free)
    coverage = cover(catalogue.snapshot().footers, None)
    assert coverage.area is None
    assert coverage.tiles[0].dec == pytest.approx(90, abs=1e-6)
    # A line around the pole, one degree from it.
    lon, lat = np.array(coverage.tiles[0].outline).T
    np.testing.assert_allclose(lat, 89, atol=0.01)
    assert np.ptp(np.sort(lon)) > 300


@pytest.mark.parametrize(
    "text",
    ["https://", "https://a.example/x.js; script-src *", "https://a.example/'unsafe-inline'", "http:///x.js", "nothing",
     "https://*/x.js",     "https://a.example/\r\nset-cookie: x", "javascript:alert(1)", ""],
)  # fmt: skip
def test_what_is_no_aladin_is_refused(text: str) -> None:
    with pytest.raises(ScannerError) as caught:
        read_aladin(text)
    assert caught.value.code == ErrorCode.WEB_BAD_ALADIN


def test_only_the_page_of_aladin_may_load_from_elsewhere(client: TestClient, folder: Path, tmp_path: Path) -> None:
    for address in ("/sky/aladin", "/sky/aladin/script"):
        assert client.get(address).json()["code"] == ErrorCode.WEB_BAD_ALADIN
    file = tmp_path / "aladin.js"
    file.write_text("globalThis.A = {};", encoding="utf-8")
    with ask(folder, str(file)) as local, ask(folder, "https://a.example/v3/aladin.js") as remote:
        page = local.get(f"/sky/aladin?at=10,20&tile={FULL}")
        rules = dict(rule.split(None, 1) for rule in page.headers["content-security-policy"].split("; "))
        assert rules["script-src"].split() == ["'self'", "'wasm-unsafe-eval'"]
        assert rules["default-src"] == "'self'"
        assert local.get("/sky/aladin/script").text == "globalThis.A = {};"
        assert '"at": [10.0, 20.0]' in page.text
        # The program is not given what changes state.
        assert demo_site.TOKEN not in page.text
        page = remote.get("/sky/aladin")
        assert "script-src 'self' https://a.example 'wasm-unsafe-eval'" in page.headers["content-security-policy"]
        assert 'src="https://a.example/v3/aladin.js"' in page.text
        for one in (local, remote):
            assert one.get("/sky", headers=HTML).headers["content-security-policy"].startswith("default-src 'self'; b")
            assert "/sky/aladin" in one.get("/sky", headers=HTML).text
        file.unlink()
        assert local.get("/sky/aladin/script").json()["code"] == ErrorCode.WEB_BAD_ALADIN
