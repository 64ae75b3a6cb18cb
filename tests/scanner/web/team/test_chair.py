"""The chair's pages: status, consensus, final grades and the gallery, as pages and as data."""

from __future__ import annotations

import csv
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from scanner.inspection.plan import Plan
from scanner.web.app import make_app
from scanner.web.hunter import Hunter
from scanner.web.site import Site
from tests.support import demo_site, team_project

HTML = {"accept": "text/html"}


@pytest.fixture(scope="module")
def chair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    project, tokens = team_project.project(
        tmp_path_factory.mktemp("team") / "hunt", fakes=4, duds=4, chairs=("eve",), feedback=True
    )
    for name, words in (("ann", "AABXXX"), ("bob", "ABXXXX"), ("cid", "ACXXXX")):
        team_project.say(project, name, dict(enumerate(words)))
        team_project.say(project, name, {6: "X", 7: "X", 8: "A", 9: "A", 10: "X", 11: "X", 12: "X", 13: "X"})
    site = Site(None)
    app = make_app(site, Hunter(site, project.folder, "organiser"), demo_site.TOKEN)
    headers = {"authorization": f"Bearer {tokens['eve']}"}
    with TestClient(app, "http://localhost", headers=headers, follow_redirects=False) as made:
        made.tokens = tokens  # type: ignore[attr-defined]
        yield made


def test_the_status_tells_progress_skill_alpha_and_completeness(chair: TestClient) -> None:
    told = chair.get("/team").json()
    assert (told["missing"], told["blind"]) == (0, {})
    skill = {row["inspector"]: row for row in told["inspectors"]}["ann"]
    assert (skill["lenses"], skill["right_lenses"], skill["p_lens"]) == (4, 2, 0.5)
    assert (skill["duds"], skill["right_duds"]) == (4, 4)
    assert skill["p_dud"] == pytest.approx(5 / 6)
    alpha = {row["quantity"]: row["value"] for row in told["summary"]}["alpha, ordinal"]
    assert 0.5 < alpha < 1
    page = chair.get("/team", headers=HTML).text
    assert "Completeness of the eye" in page
    assert "2 of 4" in page


def test_the_consensus_lists_the_most_disputed_object_first(chair: TestClient) -> None:
    told = chair.get("/team/consensus").json()
    assert told["people"] == ["ann", "bob", "cid"]
    first = told["objects"][0]
    assert {name: one["grade"] for name, one in first["said"].items()} == {"ann": "B", "bob": "X", "cid": "X"}
    best = chair.get("/team/consensus?order=grade").json()["objects"]
    assert [one["mean"] for one in best[:4]] == [3, 3, 3, 2]
    page = chair.get("/team/consensus", headers=HTML)
    assert page.status_code == 200
    for address in ("/team/picture/0", "/team/gallery/figure?format=png"):
        assert chair.get(address).content[:4] == b"\x89PNG"
    assert chair.get("/team/gallery/figure?format=pdf").content[:5] == b"%PDF-"
    assert chair.get("/team/picture/99").json()["code"] == "hunt.missing"


def test_a_final_grade_is_the_last_word(chair: TestClient) -> None:
    body = {"batch": "final-0001", "object": 1, "grade": "A"}
    for _ in range(2):
        assert chair.post("/team/final", json=body).status_code == 201
    assert [len(one["objects"]) for one in chair.get("/team/gallery").json()["groups"]] == [2, 0, 1]
    text = chair.get("/team/table/objects?format=csv").text
    rows = {row["object_id"]: row for row in csv.DictReader(text.splitlines())}
    row = rows[str(10**15 + 1)]
    assert (row["grade"], row["final"], row["mark"], float(row["g"])) == ("A", "A", "kept", 2.0)
    assert "J124000.00+550000.0" in chair.get("/team/gallery", headers=HTML).text
    exported = chair.get("/hunt/verdicts?format=csv").text
    assert "grade_ann" in exported, "the export of a hunt is the consensus of its team"
    for part in ("inspectors", "summary", "completeness"):
        assert chair.get(f"/team/table/{part}").status_code == 200
    assert chair.get("/team/table/nothing").json()["code"] == "hunt.missing"


def test_feedback_tells_who_asked_for_it_whether_a_test_was_right(chair: TestClient) -> None:
    plan = Plan.of(chair.app.state.hunter.project)  # type: ignore[attr-defined]
    headers = {"authorization": f"Bearer {chair.tokens['ann']}"}  # type: ignore[attr-defined]

    def give(index: int, grade: str) -> list[dict[str, object]]:
        verdicts = [{"key": plan.key("ann", index), "grade": grade}]
        body = {"batch": f"feedback-{index}", "verdicts": verdicts}
        told = chair.post("/grade/ann/verdicts", json=body, headers=headers).json()["feedback"]
        return [{name: one[name] for name in ("truth", "right")} for one in told]

    assert give(0, "A") == []
    assert give(6, "A") == [{"truth": "lens", "right": True}]
    assert give(10, "B") == [{"truth": "dud", "right": False}]
