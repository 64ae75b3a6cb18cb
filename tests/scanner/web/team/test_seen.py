"""What an inspector has seen cannot be unseen, and a consensus is that of the grades of its moment and plan."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from scanner.hunt.project import Project
from scanner.hunt.verdicts import Verdict, VerdictRecord
from scanner.inspection.consensus import Consensus
from scanner.inspection.ledger import Ledger
from scanner.inspection.plan import Plan
from scanner.inspection.planning import Wish, make_plan
from scanner.inspection.team import invite
from scanner.web.app import make_app
from scanner.web.hunter import Hunter
from scanner.web.site import Site
from scanner.web.team import people
from tests.support import demo_site, team_project


class Person:
    """An inspector or a chair at the page of a project."""

    def __init__(self, client: TestClient, name: str, token: str) -> None:
        self._client, self._name = client, name
        self._headers = {"authorization": f"Bearer {token}", "accept": "application/json"}

    def post(self, address: str, **body: Any) -> Any:
        return self._client.post(f"/grade/{self._name}/{address}", json=body, headers=self._headers).json()

    def get(self, address: str) -> Any:
        return self._client.get(address, headers=self._headers).json()

    def grade(self, batch: str, *keys: str) -> Any:
        return self.post("verdicts", batch=batch, verdicts=[{"key": key, "grade": "A"} for key in keys])

    def reveal(self, key: str) -> Any:
        return self.post(f"objects/{key}/reveal", batch=f"reveal-{key[:8]}")

    def undo(self, batch: str) -> Any:
        return self.post("undo", batch=batch)


Team = tuple[Project, Person, Person]


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    project, tokens = team_project.project(tmp_path / "hunt", chairs=("eve",))
    site = Site(None)
    app = make_app(site, Hunter(site, project.folder, "organiser"), demo_site.TOKEN)
    with TestClient(app, "http://localhost", follow_redirects=False) as client:
        yield project, Person(client, "ann", tokens["ann"]), Person(client, "eve", tokens["eve"])


def keys_of_ann(project: Project) -> list[str]:
    plan = Plan.of(project)
    return [plan.key("ann", index) for index in range(len(plan))]


@pytest.mark.parametrize("seen", [0, 1])
def test_a_batch_is_not_undone_after_one_of_its_objects_was_seen(team: Team, seen: int) -> None:
    project, ann, _ = team
    keys = keys_of_ann(project)
    ann.grade("batch-0001", *keys[:2])
    ann.grade("batch-0002", keys[2])
    assert "said" in ann.reveal(keys[seen])
    assert ann.undo("undo-0001")["keys"] == [keys[2]], "nothing of this batch was seen"
    assert ann.undo("undo-0002")["code"] == "inspect.revealed"
    assert ann.grade("batch-0003", keys[seen])["graded"] == 2
    said = Ledger(Plan.of(project))
    said.refresh()
    found = said.said("ann", seen)
    assert found is not None
    assert found.revised is not None, "a grade after seeing is no blind one"
    # That one can be taken back, and the blind ones still not.
    assert ann.undo("undo-0003")["keys"] == [keys[seen]]
    assert ann.undo("undo-0004")["code"] == "inspect.revealed"


def test_an_object_is_not_seen_while_its_grade_is_being_undone(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    project, ann, _ = team
    (key, *_) = keys_of_ann(project)
    ann.grade("batch-0001", key)
    shown: list[Any] = []
    other = threading.Thread(target=lambda: shown.append(ann.reveal(key)))
    undo = VerdictRecord.undo

    def undo_later(record: VerdictRecord, inspector: str, uuid: str) -> list[Verdict]:
        other.start()
        # Long enough for a reveal that nothing holds up.
        other.join(1)
        return undo(record, inspector, uuid)

    monkeypatch.setattr(VerdictRecord, "undo", undo_later)
    undone = ann.undo("undo-0001")
    other.join()
    assert (undone["withdrawn"], shown[0].get("code")) == (1, "inspect.blind")


def test_a_consensus_is_that_of_one_moment(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    project, ann, eve = team
    keys = keys_of_ann(project)
    ann.grade("batch-0001", keys[0])

    def later(ledger: Ledger) -> Consensus:
        # Another request refreshes the ledger of the page meanwhile.
        ann.grade("batch-0002", keys[1])
        return Consensus(ledger)

    monkeypatch.setattr(people, "Consensus", later)
    assert len(eve.get("/team/consensus")["objects"]) == 1
    monkeypatch.undo()
    assert len(eve.get("/team/consensus")["objects"]) == 2


def test_a_consensus_of_the_plan_before_is_not_kept_for_the_next_one(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, ann, eve = team
    ann.grade("batch-0001", keys_of_ann(project)[0])
    ledger_of = people.ledger_of

    def planned_meanwhile(request: Any) -> Ledger:
        ledger = ledger_of(request)
        monkeypatch.undo()
        invite(project.folder, "dan")
        make_plan(project, Wish())
        # Another request is the first to find the new plan.
        ann.get("/grade/ann")
        return ledger

    monkeypatch.setattr(people, "ledger_of", planned_meanwhile)
    assert "dan" not in eve.get("/team/consensus")["people"]
    assert "dan" in eve.get("/team/consensus")["people"]
