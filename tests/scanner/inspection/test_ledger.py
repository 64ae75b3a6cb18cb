"""The ledger: what stands while threads share it, and conflicts that open again."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from scanner.hunt.project import Project
from scanner.hunt.verdicts import Verdict
from scanner.inspection.consensus import Consensus
from scanner.inspection.ledger import Ledger
from scanner.inspection.merge import merge
from scanner.inspection.plan import Plan
from scanner.inspection.progress import missing_grades, open_ledger
from scanner.inspection.record import BLIND, CHAIR, FINAL
from tests.support import team_project


@pytest.mark.parametrize(("view", "stage"), [(BLIND, "grades"), (CHAIR, FINAL)])
def test_a_conflict_is_open_again_once_the_grade_that_settled_it_is_undone(
    tmp_path: Path, view: str, stage: str
) -> None:
    project, _ = team_project.project(tmp_path / "main", candidates=1, chairs=("eve",))
    who = "eve" if stage == FINAL else "ann"
    laptop = Project(Path(shutil.copytree(project.folder, tmp_path / "laptop")))
    team_project.say(project, who, {0: "A"}, view=view, stage=stage)
    team_project.say(laptop, who, {0: "X"}, view=view, stage=stage)
    assert len(merge(project, laptop.folder).conflicts) == 1
    team_project.say(project, who, {0: "B"}, view=view, stage=stage)
    assert open_ledger(project).conflicts() == []
    project.verdicts.undo(who, "undo-0001")
    (conflict,) = open_ledger(project).conflicts()
    assert (conflict.first.grade, conflict.second.grade) == ("A", "X")
    assert Consensus.of(project).count.tolist() == [0]
    assert [one.given for one in missing_grades(project)] == [0]
    # The grade that settles it may be given again.
    team_project.say(project, who, {0: "C"}, view=view, stage=stage)
    assert open_ledger(project).conflicts() == []


class Pausing(Plan):
    """A plan that stops whoever asks about its second verdict, until ``go`` is set."""

    asked, go, count = threading.Event(), threading.Event(), 0

    def index_of(self, verdict: Verdict) -> int:
        if threading.current_thread() is not threading.main_thread():
            self.count += 1
            if self.count == 2:
                self.asked.set()
                self.go.wait()
        return super().index_of(verdict)


def test_readers_see_all_or_nothing_of_what_another_thread_is_reading(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path, candidates=2)
    plan = Pausing(project, Plan.of(project).record)
    ledger = Ledger(plan)
    team_project.say(project, "ann", {0: "A", 1: "B"})
    before = ledger.state
    refreshing = threading.Thread(target=ledger.refresh)
    refreshing.start()
    try:
        assert plan.asked.wait(60)
        assert ledger.state == before, "the state is that of what readers get"
        assert (ledger.people(), ledger.graded("ann"), ledger.newest_batch("ann")) == ([], set(), [])
    finally:
        plan.go.set()
        refreshing.join()
    assert ledger.state == (2, 0)
    assert (ledger.people(), ledger.graded("ann")) == (["ann"], {0, 1})


def test_threads_share_a_ledger_while_it_grows(tmp_path: Path) -> None:
    names = [f"person-{number}" for number in range(3)]
    project, _ = team_project.project(tmp_path, names, candidates=500)
    for name in names:
        team_project.say(project, name, dict.fromkeys(range(500), "A"))
    plan = Plan.of(project)
    failed: list[RuntimeError] = []
    for _ in range(5):
        ledger, done = Ledger(plan), threading.Event()

        def read(ledger: Ledger = ledger, done: threading.Event = done) -> None:
            try:
                while not done.is_set():
                    ledger.people(), ledger.conflicts(), ledger.by(0), ledger.newest_batch("person-0")
            except RuntimeError as error:
                failed.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        ledger.refresh()
        done.set()
        reader.join()
    assert failed == []


def test_a_frozen_ledger_stays_as_it_is(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path, candidates=2)
    team_project.say(project, "ann", {0: "A"})
    ledger = open_ledger(project)
    frozen, state = ledger.freeze(), ledger.state
    team_project.say(project, "bob", {0: "B"})
    project.verdicts.undo("ann", "undo-0001")
    ledger.refresh()
    assert (frozen.state, frozen.people(), frozen.graded("ann")) == (state, ["ann"], {0})
    assert (ledger.state, ledger.people(), ledger.graded("ann")) == ((3, 0), ["ann", "bob"], set())
