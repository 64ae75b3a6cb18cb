"""Every page in both themes, wide and narrow: axe-core finds nothing serious, nothing sticks out, and people may look.

The pictures are in ``build/screens``; ``page.png`` is that of the README.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import SCREENS, Server
from tests.browser.pages import sticks_out, violations, wait_for_pictures
from tests.support import demo_site

RA, DEC = demo_site.lenses()[0]
Keep = Callable[[Page, str], None]


@pytest.fixture(scope="module")
def pages(server: Server) -> Iterator[dict[str, tuple[str, str]]]:
    """Each page: its address, and what is there once it is drawn."""
    number = server.add_round(48)
    grades = [(0, "A", ""), (1, "B", ""), (2, "X", "merger")]
    triage = [(0, "candidate"), (1, "candidate"), (2, "interesting"), (3, "no"), (4, "no")]
    for view, said in (
        ("mosaic", [{"number": at, "grade": word} for at, word in triage]),
        ("one", [{"number": at, "grade": grade, "class": kind} for at, grade, kind in grades]),
    ):
        server.ask(f"/hunt/{number}/verdicts", {"batch": f"screens-{view}", "verdicts": said, "view": view})
    found = server.ask(f"/search?at={RA}+{DEC}&limit=2")["rows"][1]["object_id"]
    yield {
        "search": (f"/search?at={RA}+{DEC}&where=mag_auto+<+24", ".card img"),
        "starts": ("/search", ".strip img"),
        "nothing": ("/search?where=mag_auto+<+1", ".results .empty"),
        "object": (f"/objects/{found}", ".viewer canvas[data-drawn]"),
        "error": ("/objects/1", ".failure"),
        "hunt": ("/hunt", ".round"),
        "mosaic": (f"/hunt/{number}/mosaic?seed=0", '#mosaic[data-drawn^="48"]'),
        "one": (f"/hunt/{number}/one?at=2", "#colour[data-drawn]"),
    }
    # Other tests find no verdict of these pictures.
    for view in ("one", "mosaic"):
        server.ask("/hunt/undo", {"batch": f"screens-undo-{view}"})


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [1440, 390])
def test_every_page(
    open_page: Callable[..., Page], keep_screen: Keep, pages: dict[str, tuple[str, str]], width: int, theme: str
) -> None:
    page = open_page("/search?limit=1", width, theme, bypass_csp=True)
    origin = page.url.split("/search")[0]
    for name, (address, drawn) in pages.items():
        page.goto(origin + address)
        expect(page.locator(drawn).first).to_be_visible()
        wait_for_pictures(page)
        keep_screen(page, f"{name}-{width}-{theme}")
        assert not violations(page), name
        assert not sticks_out(page), name


def test_the_picture_of_the_readme(open_page: Callable[..., Page], pages: dict[str, tuple[str, str]]) -> None:
    page = open_page(pages["search"][0])
    page.set_viewport_size({"width": 1100, "height": 670})
    wait_for_pictures(page)
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / "page.png")
    # The noise of the sky fills the lowest bits, which nobody sees and which are half of the bytes.
    with Image.open(SCREENS / "page.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    Image.fromarray(np.minimum((pixels.astype(int) + 4) // 8 * 8, 255).astype(np.uint8)).save(
        SCREENS / "page.png", optimize=True
    )
    assert (SCREENS / "page.png").stat().st_size < 400_000
