"""A team in a browser: two and six inspectors at once, each in a context of their own, and a chair who decides."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from scanner.inspection.consensus import Consensus
from scanner.inspection.plan import Plan
from scanner.inspection.progress import missing_grades, open_ledger, still_blind
from tests.browser.conftest import PATIENCE
from tests.browser.test_search import violations
from tests.support import samp_viewer, team_project
from tests.support.samp_viewer import Viewer

NAMES = ("ann", "bob", "cid", "dan", "eva", "fay")
COMMAND = [sys.executable, "-c", "from scanner.cli import main; main()", "serve"]
OBJECTS = 4
Keep = Callable[[Page, str], None]
expect.set_options(timeout=PATIENCE)


class Team:
    """A project that ``scanner serve`` shows, and pages of its people."""

    def __init__(self, folder: Path, count: int, browser: Browser) -> None:
        self.project, self.tokens = team_project.project(
            folder / "hunt", NAMES[:count], candidates=OBJECTS - 1, fakes=1, chairs=("kim",), feedback=True
        )
        self.port, self._browser, self._contexts = 0, browser, list[BrowserContext]()
        self.errors: list[str] = []
        self.start()

    def start(self) -> None:
        words = ["--project", self.project.folder, "--port", self.port, "--catalog", self.project.folder / "nothing"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [*COMMAND, *map(str, words)], stdout=subprocess.PIPE, env=environment, encoding="utf-8"
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().split("127.0.0.1:")[1].split("/")[0])

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def open(self, name: str, address: str = "", width: int = 1440, **options: object) -> Page:
        context = self._browser.new_context(viewport={"width": width, "height": 900}, color_scheme="dark", **options)
        context.set_default_timeout(PATIENCE)
        self._contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(f"http://127.0.0.1:{self.port}/?token={self.tokens[name]}")
        if address:
            page.goto(f"http://127.0.0.1:{self.port}{address}")
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()
        self.kill()


@pytest.fixture
def make_team(browser: Browser, tmp_path: Path) -> Iterator[Callable[[int], Team]]:
    made: list[Team] = []

    def make(count: int) -> Team:
        made.append(Team(tmp_path, count, browser))
        return made[-1]

    yield make
    for one in made:
        one.close()
        assert not one.errors


@pytest.mark.parametrize("count", [2, 6])
def test_inspectors_grade_at_once_through_a_crash_of_the_server(
    make_team: Callable[[int], Team], count: int, keep_screen: Keep
) -> None:
    team = make_team(count)
    names = NAMES[:count]
    pages = {name: team.open(name) for name in names}
    for name, page in pages.items():
        expect(page.get_by_text(f"You are {name}")).to_be_visible()
        page.get_by_role("link", name="Begin").click()
        expect(page.locator("#colour[data-drawn]")).to_be_visible()
        expect(page.locator("#reveal")).to_be_disabled()
    for page in pages.values():
        page.keyboard.press("q")
    for page in pages.values():
        expect(page.locator("body")).to_have_attribute("data-unsent", "")
    # What is said while the server is down waits in the browser of each.
    team.kill()
    for page in pages.values():
        page.keyboard.press("s")
        page.keyboard.press("w")
    for page in pages.values():
        expect(page.locator("#status")).to_contain_text("does not answer")
    team.start()
    for page in pages.values():
        page.keyboard.press("q")
        expect(page.locator("body")).to_have_attribute("data-unsent", "")
        expect(page.locator("#graded")).to_have_text(f"{OBJECTS} graded")
    assert missing_grades(team.project) == []
    assert still_blind(team.project) == {}
    ledger, plan = open_ledger(team.project), Plan.of(team.project)
    for name in names:
        said = [ledger.said(name, index) for index in plan.record.assignments[name]]
        assert [(one.blind.grade, one.blind.class_) for one in said if one] == [
            ("A", ""), ("X", "spiral"), ("B", ""), ("A", "")
        ]  # fmt: skip
    # A fake that was graded with feedback said so; what others say is there on request.
    page = pages[names[0]]
    page.locator("#reveal").click()
    expect(page.locator("#facts")).to_contain_text(names[1])
    keep_screen(page, f"team-one-{count}")
    assert len(Consensus.of(team.project).people) == count


def test_the_chair_decides_on_the_consensus_page(make_team: Callable[[int], Team], keep_screen: Keep) -> None:
    team = make_team(2)
    for name, words in (("ann", "AXAA"), ("bob", "XXBA")):
        team_project.say(team.project, name, dict(enumerate(words)))
    page = team.open("kim", bypass_csp=True)
    expect(page.get_by_text("Skill, from objects of known truth")).to_be_visible()
    keep_screen(page, "team-status")
    assert not violations(page)
    page.get_by_role("link", name="Consensus").click()
    rows = page.locator("table.consensus tbody tr")
    expect(rows).to_have_count(OBJECTS)
    # The most disputed object stands first.
    expect(rows.first).to_have_attribute("id", "object-0")
    rows.first.get_by_role("button", name="B", exact=True).click()
    expect(rows.first.get_by_role("button", name="B", exact=True)).to_have_attribute("aria-pressed", "true")
    final = open_ledger(team.project).final(0)
    assert final is not None
    assert (final.grade, final.inspector) == ("B", "kim")
    keep_screen(page, "team-consensus")
    assert not violations(page)
    page.goto(f"http://127.0.0.1:{team.port}/team/gallery")
    expect(page.locator(".gallery figure").first).to_be_visible()
    page.get_by_role("button", name="Send to TOPCAT").click()
    expect(page.locator("#status")).to_contain_text("No SAMP hub is running. Start TOPCAT")
    with samp_viewer.hub(), Viewer("viewer") as viewer:
        page.get_by_role("button", name="Send to TOPCAT").click()
        expect(page.locator("#status")).to_have_text(re.compile(r"viewer: \d+ rows"))
    (table,) = viewer.tables
    assert len(table) == page.locator(".gallery figure").count()
    keep_screen(page, "team-gallery")
    assert not violations(page)
    phone = team.open("ann", "/grade/ann/one", width=390, bypass_csp=True)
    expect(phone.locator("#colour[data-drawn]")).to_be_visible()
    keep_screen(phone, "team-one-phone")
    assert not violations(phone)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
