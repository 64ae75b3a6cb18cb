"""Blindness: no answer of the app shows an inspector a score or anything of others before the own grade.

Two worlds differ in nothing but what is to be hidden: scores, what others said, and which objects are fakes. An
inspector who has not graded gets the same bytes from every address in both.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

import catalogs
from scanner.cli.demo import DEMO
from scanner.hunt.project import Project
from scanner.inspection.plan import Plan
from scanner.inspection.record import CHAIR, FINAL
from scanner.web.app import make_app
from scanner.web.hunter import Hunter
from scanner.web.site import Site
from tests.support import demo_site, team_project

Worlds = tuple[TestClient, TestClient, dict[str, str]]
TARGET, FAKE = 0, 6
SECRETS = ("0.98765", "hidden-name", "says-bob", "merger", "says-eve")


def world(folder: Path, catalogue: Path) -> TestClient:
    site = Site(catalogs.open(catalogue), root=DEMO)
    site.known_as = lambda ra, dec: [""] * len(ra)  # type: ignore[method-assign]
    app = make_app(site, Hunter(site, folder, "organiser"), demo_site.TOKEN)
    return TestClient(app, "http://localhost", follow_redirects=False)


def change(folder: Path) -> None:
    """Make the other world: other scores and names, other truths, another verdict of bob, and none of the chair."""
    for number in (1, 2, 3):
        path = folder / "rounds" / str(number) / "objects.parquet"
        table = pq.read_table(path)
        for name, values in (("score_lens", [0.98765] * len(table)), ("known_as", ["hidden-name"] * len(table))):
            table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
        pq.write_table(table, path)
    for number in (2, 3):
        path = folder / "rounds" / str(number) / "round.json"
        about = json.loads(path.read_text())
        path.write_text(json.dumps({**about, "truth": "dud" if number == 2 else "lens", "painted": number == 3}))


@pytest.fixture(scope="module")
def worlds(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    folder = tmp_path_factory.mktemp("worlds")
    project, tokens = team_project.project(folder / "one", ("ann", "bob"), fakes=2, duds=2, chairs=("eve",))
    # Fakes and duds have the same columns, as those of one catalogue have.
    shutil.copy(folder / "one/rounds/2/objects.parquet", folder / "kept.parquet")
    shutil.copytree(folder / "one", folder / "two")
    change(folder / "two")
    other = Project(folder / "two")
    team_project.say(project, "bob", {TARGET: "A", FAKE: "A"})
    team_project.say(other, "bob", {TARGET: "X", FAKE: "X"}, class_="merger", comment="says-bob")
    team_project.say(other, "eve", {TARGET: "C"}, view=CHAIR, stage=FINAL, comment="says-eve")
    with world(project.folder, catalogue) as one, world(other.folder, catalogue) as two:
        yield one, two, tokens


def routes(app: FastAPI) -> Iterator[Any]:
    """The routes of the app, those of its routers included."""
    for route in app.routes:
        router = getattr(route, "original_router", None)
        yield from [route] if router is None else router.routes


def requests(app: FastAPI, name: str, keys: list[str]) -> Iterator[tuple[str, str, Any]]:
    """Every address of the app, with parameters that lead to the objects; nothing grades one of ``keys``."""
    values = {
        "name": ["ann", "bob", "eve"], "key": keys, "number": ["1", "2"], "place": ["0", "1"], "object_id": ["1"],
        "index": [str(TARGET), str(FAKE)], "part": ["objects", "inspectors", "summary", "completeness"], "grade": ["A"],
        "digest": ["0" * 64],
    }  # fmt: skip
    bodies: list[Any] = [{}, {"batch": f"batch-of-{name}"}, {"batch": f"batch-of-{name}", "verdicts": []}]
    bodies += [{"batch": f"final-of-{name}", "object": TARGET, "grade": "A"}, {"count": 3}]
    bodies += [{"batch": f"batch-x-{name}", "view": "one", "verdicts": [{"number": 0, "grade": "A"}]}]
    for route in routes(app):
        paths = [getattr(route, "path", "")]
        assert isinstance(route, APIRoute) or paths[0] in ("/static", "/openapi.json"), paths
        for parameter, choices in values.items():
            paths = [
                path.replace(f"{{{parameter}}}", choice)
                for path in paths
                for choice in (choices if f"{{{parameter}}}" in path else [""])
            ]
        for path in paths:
            assert "{" not in path, f"the test knows no value for {path}"
            for method in getattr(route, "methods", None) or {"GET"}:
                sent = bodies if method == "POST" else [None]
                for body in sent:
                    for query in ("", "?format=csv", "?ra=194.0567&dec=56.0333") if method == "GET" else ("",):
                        yield method, path + query, body


def read(client: TestClient, token: str, method: str, address: str, body: Any, accept: str) -> tuple[int, Any, bytes]:
    headers = {"authorization": f"Bearer {token}", "accept": accept}
    answer = client.request(method, address, json=body, headers=headers)
    # The tag is a word of the server alone.
    facts = {name: value for name, value in answer.headers.items() if name != "etag" or "/static/" in address}
    return answer.status_code, sorted(facts.items()), answer.content


def test_no_answer_depends_on_what_is_hidden(worlds: Worlds) -> None:
    one, two, tokens = worlds
    plan = Plan.of(one.app.state.hunter.project)  # type: ignore[attr-defined]
    keys = [plan.key("ann", TARGET), plan.key("ann", FAKE)]
    answered = set()
    for method, address, body in requests(one.app, "ann", keys):  # type: ignore[arg-type]
        for accept in ("text/html", "application/json"):
            here, there = (read(client, tokens["ann"], method, address, body, accept) for client in (one, two))
            assert here == there, (method, address)
            for secret in (*SECRETS, tokens["bob"], tokens["eve"], demo_site.TOKEN):
                assert secret.encode() not in here[2] + repr(here[1]).encode() or secret == "merger"
            if here[0] < 300:
                answered.add(address.split("?")[0])
    # What an inspector may have did answer, and nothing else did.
    assert {
        f"/grade/ann/windows/{keys[0]}",
        f"/grade/ann/objects/{keys[1]}",
        "/grade/ann/one",
        "/grade/ann",
    } <= answered
    assert {address.split("/")[1] for address in answered} <= {"grade", "static"}
    assert not any(address.startswith(("/grade/bob", "/grade/eve")) for address in answered)


def test_the_same_reader_finds_the_secrets_where_they_may_be_seen(
    worlds: Worlds,
) -> None:
    one, two, tokens = worlds
    seen = b""
    for method, address, body in requests(two.app, "eve", ["0" * 20]):  # type: ignore[arg-type]
        if method == "GET":
            seen += read(two, tokens["eve"], method, address, body, "application/json")[2]
            seen += read(two, demo_site.TOKEN, method, address, body, "text/html")[2]
    assert all(secret.encode() in seen for secret in SECRETS)
    del one


def test_grades_of_other_objects_tell_nothing_either_and_the_own_one_opens_all(
    worlds: Worlds,
) -> None:
    one, two, tokens = worlds
    plan = Plan.of(one.app.state.hunter.project)  # type: ignore[attr-defined]

    def post(client: TestClient, address: str, body: Any) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {tokens['ann']}"}
        answer = client.post(f"/grade/ann/{address}", json=body, headers=headers)
        return answer.status_code, answer.content

    def give(index: int) -> dict[str, Any]:
        return {"batch": f"graded-{index}", "verdicts": [{"key": plan.key("ann", index), "grade": "B", "seconds": 1.0}]}

    # A fake is answered like any other object.
    answers = [[post(client, "verdicts", give(index)) for index in (1, 7, 8)] for client in (one, two)]
    assert answers[0] == answers[1]
    assert [status for status, _ in answers[0]] == [201] * 3
    key = plan.key("ann", TARGET)
    refused = [post(client, f"objects/{key}/reveal", {"batch": "reveal-1"}) for client in (one, two)]
    assert refused[0] == refused[1]
    assert json.loads(refused[0][1])["code"] == "inspect.blind"
    assert post(two, "verdicts", give(TARGET))[0] == 201
    status, told = post(two, f"objects/{key}/reveal", {"batch": "reveal-2"})
    assert status == 200
    shown = json.loads(told)
    assert (shown["row"]["score_lens"], shown["row"]["known_as"]) == (0.98765, "hidden-name")
    assert {"inspector": "bob", "grade": "X", "class": "merger", "comment": "says-bob"} in shown["said"]
    # From now on the blind grade stays, and another one is a revised one.
    assert json.loads(post(two, "undo", {"batch": "undo-0001"})[1])["code"] == "inspect.revealed"
    assert post(two, "verdicts", {**give(TARGET), "batch": "graded-again"})[0] == 201
    ledger = two.app.state.ledger  # type: ignore[attr-defined]
    said = ledger.said("ann", TARGET)
    assert (said.blind.grade, said.revised.grade) == ("B", "B")


def test_wrong_people_and_wrong_objects_are_refused_by_name(
    worlds: Worlds,
) -> None:
    one, _, tokens = worlds
    plan = Plan.of(one.app.state.hunter.project)  # type: ignore[attr-defined]

    def post(person: str, address: str, body: Any) -> str:
        token = {**tokens, "": demo_site.TOKEN}.get(person, person)
        answer = one.post(address, json=body, headers={"authorization": f"Bearer {token}"})
        assert answer.status_code >= 400, answer.text
        return str(answer.json()["code"])

    key = plan.key("ann", TARGET)
    good = {"batch": "batch-0001", "verdicts": [{"key": key, "grade": "A"}]}
    assert post("ann", "/grade/bob/verdicts", good) == "inspect.blind"
    assert post("bob", "/grade/bob/verdicts", good) == "inspect.not_assigned"
    assert post("", "/grade/ann/verdicts", good) == "inspect.bad_token"
    assert post("eve", "/grade/eve/verdicts", good) == "inspect.bad_token"
    assert post("guess", "/grade/ann/verdicts", good) == "web.no_token"
    for grade in ({"grade": "Z"}, {"grade": "candidate"}, {"grade": "A", "class": "planet"}):
        bad = {"batch": "batch-0001", "verdicts": [{"key": key, **grade}]}
        assert post("ann", "/grade/ann/verdicts", bad) == "hunt.bad_verdict"
    assert post("", "/team/final", {"batch": "final-0001", "object": 0, "grade": "A"}) == "inspect.bad_token"
    assert post("eve", "/team/final", {"batch": "final-0001", "object": 99, "grade": "A"}) == "inspect.not_assigned"


def test_a_page_holds_the_token_of_its_reader_alone(worlds: Worlds) -> None:
    one, _, tokens = worlds
    stranger = TestClient(one.app, "http://localhost", follow_redirects=False)
    admitted = stranger.get(f"/?token={tokens['ann']}")
    assert admitted.status_code == 303
    assert f"scanner={tokens['ann']}" in admitted.headers["set-cookie"]
    home = stranger.get("/")
    assert (home.status_code, home.headers["location"]) == (303, "/grade/ann")
    text = stranger.get("/grade/ann/one", headers={"accept": "text/html"}).text
    assert tokens["ann"] in text
    # The cookie alone changes nothing; with the token of the page it does.
    body = {"batch": "batch-0002"}
    assert stranger.post("/grade/ann/undo", json=body).status_code == 403
    assert stranger.post("/grade/ann/undo", json=body, headers={"x-scanner-token": tokens["ann"]}).status_code == 200
