"""What a page lists, sent by the server over SAMP to the programs beside it: search, lasso and gallery."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import catalogs
from catalogs.errors import ErrorCode
from catalogs.maps import build
from catalogs.maps.read import MapSettings
from scanner.web.app import make_app
from scanner.web.hunter import Hunter
from scanner.web.site import Site
from tests.support import demo_site, samp_viewer, team_project
from tests.support.samp_viewer import Viewer


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    with samp_viewer.hub(), Viewer("viewer") as one:
        yield one


def test_a_search_arrives_as_it_is_listed(client: TestClient, viewer: Viewer) -> None:
    ra, dec = demo_site.lenses()[0]
    question = {"at": [f"{ra} {dec}"], "where": "mag_r < 22", "offset": 60}
    listed = client.get("/search", params={"at": f"{ra} {dec}", "where": "mag_r < 22", "limit": 500}).json()["rows"]
    sent = client.post("/search/broadcast", json=question).json()
    assert sent == {"rows": len(listed), "receivers": [{"name": "viewer", "problem": ""}]}
    (table,) = viewer.tables
    assert table["object_id"].tolist() == [row["object_id"] for row in listed]
    assert viewer.names == [f"Like {ra} {dec}, mag_r < 22"]
    assert table["mag_r"].unit == "mag"


def test_a_lasso_sends_what_lies_inside(client: TestClient, catalogue: Path, viewer: Viewer) -> None:
    build.build_map(catalogs.open(catalogue), MapSettings("pca"))
    x0, y0, x1, y1 = client.get("/map").json()["whole"]
    middle = (x0 + x1) / 2
    view = {"name": "pca", "lasso": f"{x0},{y0},{middle},{y0},{middle},{y1},{x0},{y1}"}
    inside = client.get("/map", params=view).json()
    sent = client.post("/map/broadcast", json=view).json()
    assert sent["rows"] == inside["count"] > 20
    assert sorted(map(str, viewer.tables[0]["object_id"])) == sorted(inside["object_ids"])


def test_a_gallery_sends_the_objects_of_its_grades(tmp_path: Path, viewer: Viewer) -> None:
    project, tokens = team_project.project(tmp_path / "hunt", ("ann",), fakes=1, duds=1, chairs=("eve",))
    app = make_app(Site(None), Hunter(Site(None), project.folder, "organiser"), demo_site.TOKEN)
    with TestClient(app, "http://localhost") as client:
        chair, ann = ({"authorization": f"Bearer {tokens[name]}"} for name in ("eve", "ann"))
        refused = client.post("/team/gallery/broadcast", headers=chair)
        assert (refused.status_code, refused.json()["code"]) == (400, ErrorCode.INSPECT_NO_TRUTH)
        team_project.say(project, "ann", {0: "A", 1: "X", 2: "B", 6: "A", 7: "A"})
        assert client.post("/team/gallery/broadcast", headers=chair).json()["rows"] == 2
        assert client.post("/team/gallery/broadcast", headers=ann).status_code == 403
    (table,) = viewer.tables
    assert sorted(table["grade_ann"].tolist()) == ["A", "B"], "no fake and no dud"


def test_it_needs_a_hub_and_the_page_of_this_server(client: TestClient) -> None:
    answer = client.post("/search/broadcast", json={"sort": "mag_auto"})
    assert (answer.status_code, answer.json()["code"]) == (400, ErrorCode.SAMP_NO_HUB)
    assert "TOPCAT" in answer.json()["hint"]
    foreign = client.post("/search/broadcast", json={}, headers={"origin": "https://elsewhere.example"})
    assert (foreign.status_code, foreign.json()["code"]) == (403, ErrorCode.WEB_BAD_ORIGIN)
    cookies = {"authorization": "", "cookie": f"scanner={demo_site.TOKEN}"}
    without = client.post("/search/broadcast", json={}, headers=cookies)
    assert (without.status_code, without.json()["code"]) == (403, ErrorCode.WEB_NO_TOKEN)
