"""A hunt in a browser: triage and grades by keys, and no verdict lost on the way."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

import scanner
from scanner.cli.demo import DEMO
from scanner.hunt.project import Project
from tests.browser.conftest import Server, lenses
from tests.support import demo_site, tiny_encoder

RA, DEC = demo_site.lenses()[0]
COUNT = 24

Opened = Callable[..., Page]
Keep = Callable[[Page, str], None]


def project(server: Server) -> Project:
    return Project(server.folder / "hunt")


@pytest.fixture(scope="module")
def number(server: Server) -> int:
    """The round that these tests make and go on with."""
    return 1 + len(server.ask("/hunt")["rounds"])


@pytest.fixture
def mosaic(number: int) -> str:
    return f"/hunt/{number}/mosaic?size=8&seed=3"


def triaged(server: Server, number: int, page: int) -> list[str]:
    """The words that stand about the objects on a page of the mosaic."""
    one = project(server).round(number)
    standing = project(server).standing(one)
    shown = [standing[place].triage for place in one.order(3)[8 * (page - 1) : 8 * page]]
    return [said.grade if said else "" for said in shown]


def wait_until_saved(page: Page) -> None:
    expect(page.locator("body")).to_have_attribute("data-unsent", "")


def test_a_search_becomes_a_round(open_page: Opened, server: Server, number: int) -> None:
    page = open_page(f"/search?at={RA}+{DEC}")
    page.get_by_text("Inspect", exact=True).click()
    page.locator("#inspect").get_by_label("Objects").fill(str(COUNT))
    page.locator("#inspect").get_by_role("button").click()
    page.wait_for_url(re.compile(f"/hunt/{number}/mosaic"))
    expect(page.locator("#mosaic")).to_have_attribute("data-drawn", f"{COUNT} colour asinh 0")
    assert len(project(server).round(number)) == COUNT


def test_the_mosaic_by_keys_through_a_crash_of_the_server(
    open_page: Opened, server: Server, number: int, mosaic: str
) -> None:
    page = open_page(mosaic)
    expect(page.locator("#mosaic")).to_have_attribute("data-drawn", "8 colour asinh 0")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("m")
    expect(page.locator("#tally")).to_have_text("1 candidate, 1 interesting")
    wait_until_saved(page)
    server.kill()
    # What is said now waits in the browser, and arrives when the server is back.
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("does not answer")
    assert triaged(server, number, 1).count("") == 6
    server.start()
    page.wait_for_url(re.compile("page=2"))
    assert triaged(server, number, 1) == ["no", "candidate", "interesting", *["no"] * 5]
    assert triaged(server, number, 2) == [""] * 8

    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("page=3"))
    page.keyboard.press("u")
    page.wait_for_url(re.compile("page=2"))
    assert triaged(server, number, 2) == [""] * 8
    page.locator(".tile").nth(3).click()
    page.locator(".tile").nth(4).click(modifiers=["Shift"])
    page.locator(".tile").nth(5).click(button="right")
    expect(page.locator("#tally")).to_have_text("1 candidate, 2 interesting")
    wait_until_saved(page)
    assert triaged(server, number, 2) == ["", "", "", "candidate", "interesting", "interesting", "", ""]


def test_verdicts_wait_while_the_server_cannot_write(
    open_page: Opened, server: Server, number: int, mosaic: str
) -> None:
    page, answers = open_page(f"{mosaic}&page=2"), ["The disk is full."]

    def answer(route: Route) -> None:
        if answers:
            route.fulfill(status=503, json={"code": "hunt.not_saved", "message": answers.pop(), "hint": ""})
        else:
            route.continue_()

    page.route("**/verdicts", answer)
    expect(page.locator("#mosaic")).to_have_attribute("data-drawn", "8 colour asinh 0")
    page.locator(".tile").nth(0).click()
    expect(page.locator("#status")).to_contain_text("The disk is full. Your verdicts are kept here")
    wait_until_saved(page)
    assert triaged(server, number, 2)[0] == "candidate"
    page.keyboard.press("u")
    page.wait_for_load_state()


def test_a_verdict_arrives_though_the_storage_of_the_browser_is_full(
    open_page: Opened, server: Server, number: int, mosaic: str
) -> None:
    page = open_page(f"{mosaic}&page=2")
    expect(page.locator("#mosaic")).to_have_attribute("data-drawn", "8 colour asinh 0")
    page.evaluate(
        """() => {
            for (let size = 1 << 22, at = 0; size; at++) {
                try { localStorage.setItem(`filler ${at}`, "x".repeat(size)); } catch { size >>= 1; }
            }
        }"""
    )
    with page.expect_response("**/verdicts") as answer:
        page.locator(".tile").nth(1).click()
    assert answer.value.status == 201
    assert triaged(server, number, 2)[1] == "candidate"
    page.evaluate("localStorage.clear()")
    with page.expect_response("**/undo"):
        page.keyboard.press("u")
    page.wait_for_load_state()


def test_two_windows_of_one_browser_on_one_mosaic(open_page: Opened, server: Server, number: int, mosaic: str) -> None:
    """Turning the page says "no" only of what nobody marked, in whichever window."""
    one = open_page(f"{mosaic}&page=3")
    other = open_page(f"{mosaic}&page=3", beside=one)
    for page in (one, other):
        expect(page.locator("#mosaic")).to_have_attribute("data-drawn", "8 colour asinh 0")
    one.keyboard.press("Space")
    other.keyboard.press("ArrowRight")
    other.keyboard.press("m")
    for page in (one, other):
        wait_until_saved(page)
    # Neither window knows of the other's mark.
    for page in (other, one):
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("/hunt$"))
    assert triaged(server, number, 3) == ["candidate", "interesting", *["no"] * 6]


def test_one_by_one_by_keys_in_two_windows(open_page: Opened, server: Server, number: int) -> None:
    one, other = open_page(f"/hunt/{number}/one"), open_page(f"/hunt/{number}/one?at=5")
    for page in (one, other):
        expect(page.locator("#colour[data-drawn]")).to_be_visible()
    one.keyboard.press("c")
    one.keyboard.type("a fine arc")
    one.keyboard.press("Escape")
    one.keyboard.press("q")
    other.keyboard.press("s")
    # An undo takes back what came last, from whichever window.
    wait_until_saved(other)
    one.keyboard.press("w")
    expect(one.locator("#place")).to_have_text("3")
    expect(other.locator("#place")).to_have_text("7")
    one.keyboard.press("v")
    one.keyboard.press("b")
    expect(one.locator("#colour")).to_have_attribute("data-drawn", "2 r asinh grey 0 true")
    for page in (one, other):
        wait_until_saved(page)
    standing = project(server).standing(project(server).round(number))
    graded = {at: each.grade for at, each in enumerate(standing) if each.grade}
    assert {at: (said.grade, said.class_, said.comment) for at, said in graded.items()} == {
        0: ("A", "", "a fine arc"),
        1: ("B", "", ""),
        5: ("X", "spiral", ""),
    }
    assert all(said.seconds is not None for said in graded.values())
    one.keyboard.press("u")
    expect(one.locator("#place")).to_have_text("2")
    assert project(server).standing(project(server).round(number))[1].grade is None

    one.goto(f"{server.address}/hunt")
    one.get_by_text("Export", exact=True).click()
    with one.expect_download() as download:
        one.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8"))))
    marks = {row["grade"]: (row["mark"], row["class"], row["comment"]) for row in rows if row["grade"]}
    assert marks == {"A": ("kept", "", "a fine arc"), "X": ("rejected", "spiral", "")}


def test_the_grades_rank_the_catalogue_again(open_page: Opened, server: Server, number: int) -> None:
    page = open_page("/hunt")
    page.get_by_text("Re-rank by the grades").click()
    page.locator("#rerank").get_by_label("Objects").fill("12")
    page.locator("#rerank").get_by_role("button").click()
    page.wait_for_url(re.compile(f"/hunt/{number + 1}/mosaic"))
    expect(page.locator(".tile")).to_have_count(12)
    # None of them was judged.
    judged = {row["object_id"] for row in project(server).verdict_table() if row["mark"]}
    assert not judged & set(project(server).round(number + 1).place["object_id"])


@pytest.fixture
def copied(server: Server, tmp_path: Path) -> Path:
    """A copy of the project, taken as one copies a folder to a laptop."""
    return Path(shutil.copytree(server.folder / "hunt", tmp_path / "copy"))


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Server]:
    """A second server, of this test alone."""
    made = Server(tmp_path)
    yield made
    made.kill()


def test_a_copy_of_the_project_needs_neither_catalogue_nor_tiles(
    open_page: Opened, another: Server, copied: Path, number: int
) -> None:
    another.start(with_catalogue=False, project=copied)
    page = open_page(f"/hunt/{number}/one?at=5", of=another)
    expect(page.locator("#colour[data-drawn]")).to_be_visible()
    expect(page.locator('[data-class="spiral"]')).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("e")
    wait_until_saved(page)
    assert Project(copied).standing(Project(copied).round(number))[5].grade.grade == "C"


def test_a_catalogue_of_another_model_keeps_the_verdicts_and_says_so(
    open_page: Opened, another: Server, copied: Path, number: int, keep_screen: Keep
) -> None:
    encoder = tiny_encoder.write(another.folder / "other.onnx", tiny_encoder.contract())
    catalogue = another.folder / "changed"
    report = scanner.scan_tiles(DEMO / "list.txt", catalogue, root=DEMO, model=encoder, device="cpu", readers=1)
    assert not report.failed
    lenses(another.folder)
    another.start(catalogue=catalogue, project=copied)
    page = open_page("/hunt", of=another)
    given = len(Project(copied).verdicts.standing())
    expect(page.locator(".problem")).to_have_text(
        f"{given} verdicts were given with another model; they are kept by position."
    )
    keep_screen(page, "notice-1440-dark")
    # What was graded A as an object of the former catalogue is graded in a round of this one.
    place = Project(copied).round(number).place
    page.goto(f"{another.address}/search?near={place['ra'][0]},{place['dec'][0]},1")
    page.get_by_text("Inspect", exact=True).click()
    page.locator("#inspect").get_by_role("button").click()
    page.wait_for_url(re.compile(r"/hunt/\d+/mosaic"))
    page.goto(page.url.split("/mosaic")[0] + "/one")
    expect(page.locator('[data-grade="A"]')).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#comment")).to_have_value("a fine arc")
