"""The page without a mouse: from a search to exported verdicts by keys alone."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import Server
from tests.browser.pages import name_of_focus, tab_to


def test_from_a_search_to_exported_verdicts(server: Server, open_page: Callable[..., Page]) -> None:
    # Other tests judge lenses, and a verdict stands in every round; nobody has judged what is like the faintest object.
    faint = server.ask("/search?sort=snr&limit=1")["rows"][0]
    page = open_page("/search")
    keys = page.keyboard
    # The field to type in has the keys from the start.
    assert name_of_focus(page) == "Position, name or object"
    keys.type(f"{faint['ra']} {faint['dec']}")
    keys.press("Enter")
    expect(page.locator(".card")).to_have_count(60)
    # Whoever is faster than the scripts of a page finds it still without them.
    page.wait_for_load_state()

    tab_to(page, "Inspect")
    keys.press("Enter")
    tab_to(page, "Objects")
    keys.press("Escape")
    assert name_of_focus(page) == "Inspect"
    keys.press("Enter")
    tab_to(page, "Objects")
    keys.press("ControlOrMeta+a")
    keys.type("6")
    tab_to(page, "Make a round")
    keys.press("Enter")
    page.wait_for_url(re.compile(r"/hunt/\d+/mosaic"))
    expect(page.locator("#mosaic")).to_have_attribute("data-drawn", "6 colour asinh 0")

    keys.press("ArrowRight")
    keys.press("Space")
    keys.press("t")
    expect(page.locator("#mosaic")).to_have_attribute("data-drawn", "6 colour sqrt 0")
    keys.press("Enter")
    page.wait_for_url(re.compile("/hunt$"))

    # The first key of a page leads past its bar.
    keys.press("Tab")
    assert name_of_focus(page) == "Skip to the content"
    keys.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to(page, "Candidates")
    keys.press("Enter")
    page.wait_for_url(re.compile("/one"))
    page.wait_for_load_state()
    expect(page.locator("#colour[data-drawn]")).to_be_visible()
    keys.press("q")
    expect(page.locator('[data-grade="A"]')).to_have_attribute("aria-pressed", "true")
    keys.press("u")
    expect(page.locator('[data-grade="A"]')).to_have_attribute("aria-pressed", "false")
    # The letter and its key.
    tab_to(page, "Bw")
    keys.press("Enter")
    expect(page.locator('[data-grade="B"]')).to_have_attribute("aria-pressed", "true")
    expect(page.locator("body")).to_have_attribute("data-unsent", "")
    graded = page.evaluate("JSON.parse(document.getElementById('data').textContent).objects[0].row.object_id")

    page.goto(page.url.split("/hunt/")[0] + "/hunt")
    tab_to(page, "Export")
    keys.press("Enter")
    tab_to(page, "CSV")
    with page.expect_download() as download:
        keys.press("Enter")
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8"))))
    assert {row["object_id"]: row["grade"] for row in rows}[graded] == "B"
