"""What the tests ask of every page: that it is drawn, that everybody can use it, and that nothing sticks out."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Page

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
ICON = "/static/mark.svg"
"""What the browser asks for itself, whenever the address changes."""
# Pictures below the window are not loaded before one scrolls to them.
DRAWN = """() => Promise.all([...document.images]
    .filter(one => one.getBoundingClientRect().top < innerHeight && one.getBoundingClientRect().bottom > 0)
    .map(one => one.complete || new Promise(done => { one.onload = one.onerror = done; })))"""


def wait_for_pictures(page: Page) -> None:
    """Wait until every picture in the window is there, or is known to be missing."""
    page.evaluate(DRAWN)


def violations(page: Page) -> list[str]:
    """What axe-core finds serious or worse; the context of the page needs ``bypass_csp``."""
    page.evaluate(AXE)
    found = json.loads(page.evaluate("async () => JSON.stringify((await axe.run()).violations)"))
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def sticks_out(page: Page) -> bool:
    """Whether the page is wider than its window; a phone makes ``innerWidth`` larger then."""
    size = page.viewport_size
    assert size is not None
    return int(page.evaluate("document.documentElement.scrollWidth")) > size["width"]


def name_of_focus(page: Page) -> str:
    """The words on what the keys go to, or its label."""
    return str(
        page.evaluate(
            """() => {
                const one = document.activeElement;
                return (one.getAttribute("aria-label") || one.labels?.[0]?.textContent || one.textContent).trim();
            }"""
        )
    )


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the keys go to what begins with this name; it must be seen where they go."""
    passed = []
    while not (here := name_of_focus(page)).startswith(name):
        passed.append(here)
        assert len(passed) < 300, f"Tab does not lead to {name!r}, but through {passed[:40]}"
        page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", name
