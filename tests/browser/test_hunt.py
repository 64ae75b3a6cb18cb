"""A hunt in a browser: triage and grades by keys, and no verdict lost on the way."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from scanner.hunt.project import Project
from tests.browser.conftest import PATIENCE, Server
from tests.browser.test_search import violations
from tests.support import demo_site

RA, DEC = demo_site.lenses()[0]
COUNT = 24
expect.set_options(timeout=PATIENCE)

Opened = Callable[..., Page]
Keep = Callable[[Page, str], None]


def project(server: Server) -> Project:
    return Project(server.folder / "hunt")


def standing(server: Server) -> list[str]:
    """The words that stand, object by object."""
    opened = project(server)
    said = [one.latest for one in opened.standing(opened.round(1))]
    return [one.grade if one else "" for one in said]


@pytest.fixture(scope="module")
def mosaic(server: Server) -> str:
    return "/hunt/1/mosaic?size=8&seed=3"


def test_a_search_becomes_a_round(open_page: Opened, server: Server) -> None:
    page = open_page(f"/search?at={RA}+{DEC}")
    page.get_by_text("Inspect", exact=True).click()
    page.get_by_label("Objects").fill(str(COUNT))
    page.get_by_role("button", name="Make a round").click()
    page.wait_for_url(re.compile("/hunt/1/mosaic"))
    expect(page.locator("#mosaic")).to_have_attribute("data-drawn", f"{COUNT} colour asinh 0")
    assert len(project(server).round(1)) == COUNT


def test_the_mosaic_by_keys_through_a_crash_of_the_server(
    open_page: Opened, server: Server, mosaic: str, keep_screen: Keep
) -> None:
    page = open_page(mosaic)
    expect(page.locator("#mosaic")).to_have_attribute("data-drawn", "8 colour asinh 0")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("m")
    expect(page.locator("#tally")).to_have_text("1 candidate, 1 interesting")
    keep_screen(page, "mosaic-1440-dark")
    expect(page.locator("body")).to_have_attribute("data-unsent", "")
    server.kill()
    # What is said now waits in the browser, and arrives when the server is back.
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("does not answer")
    server.start()
    page.wait_for_url(re.compile("page=2"))
    said = standing(server)
    assert (said.count("candidate"), said.count("interesting"), said.count("no"), said.count("")) == (1, 1, 6, 16)

    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("page=3"))
    page.keyboard.press("u")
    page.wait_for_url(re.compile("page=2"))
    assert standing(server).count("no") == 6
    page.locator(".tile").nth(3).click()
    page.locator(".tile").nth(4).click(modifiers=["Shift"])
    expect(page.locator("body")).to_have_attribute("data-unsent", "")
    assert standing(server).count("candidate") == 2


def test_one_by_one_by_keys_in_two_windows(open_page: Opened, server: Server, keep_screen: Keep) -> None:
    one, other = open_page("/hunt/1/one"), open_page("/hunt/1/one?at=5")
    for page in (one, other):
        expect(page.locator("#colour[data-drawn]")).to_be_visible()
    one.keyboard.press("c")
    one.keyboard.type("a fine arc")
    one.keyboard.press("Escape")
    one.keyboard.press("q")
    other.keyboard.press("s")
    # An undo takes back what came last, from whichever window.
    expect(other.locator("body")).to_have_attribute("data-unsent", "")
    one.keyboard.press("w")
    expect(one.locator("#place")).to_have_text("3")
    expect(other.locator("#place")).to_have_text("7")
    one.keyboard.press("v")
    one.keyboard.press("b")
    expect(one.locator("#colour")).to_have_attribute("data-drawn", "2 r asinh grey 0 true")
    for page in (one, other):
        expect(page.locator("body")).to_have_attribute("data-unsent", "")
    keep_screen(one, "one-1440-dark")
    graded = {
        number: one.grade for number, one in enumerate(project(server).standing(project(server).round(1))) if one.grade
    }
    assert {number: (said.grade, said.class_, said.comment) for number, said in graded.items()} == {
        0: ("A", "", "a fine arc"),
        1: ("B", "", ""),
        5: ("X", "spiral", ""),
    }
    assert all(said.seconds > 0 for said in graded.values())
    one.keyboard.press("u")
    expect(one.locator("#place")).to_have_text("2")
    assert project(server).standing(project(server).round(1))[1].grade is None

    rows = list(csv.DictReader(io.StringIO(one.request.get(f"{server.address}/hunt/verdicts").text())))
    marks = {row["grade"]: (row["mark"], row["class"], row["comment"]) for row in rows if row["grade"]}
    assert marks == {"A": ("kept", "", "a fine arc"), "X": ("rejected", "spiral", "")}


def test_the_grades_rank_the_catalogue_again(open_page: Opened, server: Server, keep_screen: Keep) -> None:
    page = open_page("/hunt")
    keep_screen(page, "hunt-1440-dark")
    page.get_by_text("Re-rank by the grades").click()
    page.get_by_label("Objects").fill("12")
    page.get_by_role("button", name="Make a round").click()
    page.wait_for_url(re.compile("/hunt/2/mosaic"))
    expect(page.locator(".tile")).to_have_count(12)


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_pages_of_the_hunt_are_kept(open_page: Opened, keep_screen: Keep, mosaic: str, width: int, theme: str) -> None:
    for name, address, drawn in (
        ("hunt", "/hunt", ".round"),
        ("mosaic", mosaic, "#mosaic[data-drawn]"),
        ("one", "/hunt/1/one", "#colour[data-drawn]"),
    ):
        page = open_page(address, width, theme, bypass_csp=True)
        expect(page.locator(drawn).first).to_be_visible()
        page.wait_for_load_state("networkidle")
        keep_screen(page, f"{name}-{width}-{theme}")
        assert not violations(page), name
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_copy_of_the_project_needs_neither_catalogue_nor_tiles(
    open_page: Opened, server: Server, tmp_path: Path
) -> None:
    server.kill()
    shutil.copytree(server.folder / "hunt", tmp_path / "copy")
    server.start(with_catalogue=False, project=tmp_path / "copy")
    page = open_page("/hunt/1/one?at=5")
    expect(page.locator("#colour[data-drawn]")).to_be_visible()
    expect(page.locator('[data-class="spiral"]')).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("e")
    expect(page.locator("body")).to_have_attribute("data-unsent", "")
    copied = Project(tmp_path / "copy")
    assert copied.standing(copied.round(1))[5].grade.grade == "C"
    server.kill()
    server.start()
