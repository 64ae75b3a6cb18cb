"""The sky in a browser: tiles and failures, chosen by pointer and by keys, and an Aladin Lite that the user gives."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

import catalogs
from catalogs.errors import ErrorCode
from scanner.web.app import make_app
from scanner.web.site import Site
from tests.browser.conftest import PATIENCE, Server
from tests.browser.pages import ICON, violations
from tests.support import demo_site

expect.set_options(timeout=PATIENCE)

Opened = Callable[..., Page]
Keep = Callable[[Page, str], None]
TILE, FAILED = "217.292", "218.292"
MESSAGE = "Band r has no WCS (missing CTYPE1)."


@pytest.fixture(scope="module")
def scanned(server: Server) -> Iterator[Server]:
    """A catalogue of one tile that was scanned and one that failed."""
    catalogue = catalogs.open(server.folder / "embeddings")
    catalogue.record_failure(FAILED, ErrorCode.TILE_NO_WCS, MESSAGE, "Download the file again.")
    yield server
    catalogue.clear_failure(FAILED)


def middle_of(page: Page, server: Server) -> tuple[float, float]:
    """The middle of the objects of the tile, in degrees."""
    tiles = {one["tile"]: one for one in page.request.get(f"{server.address}/sky").json()["tiles"]}
    ra, dec = np.mean(tiles[TILE]["outline"], axis=0)
    return float(ra), float(dec)


def test_a_tile_is_chosen_by_a_click_and_leads_to_its_objects(
    open_page: Opened, scanned: Server, keep_screen: Keep
) -> None:
    page = open_page("/sky")
    expect(page.locator("#canvas")).to_have_attribute("data-drawn", "2 part")
    ra, dec = middle_of(page, scanned)
    page.goto(f"{scanned.address}/sky?at={ra},{dec}&field=1.5")
    expect(page.locator("#canvas")).to_have_attribute("data-drawn", "2 part")
    box = page.locator("#plane").bounding_box()
    assert box is not None
    asked: list[str] = []
    page.on("request", lambda one: asked.append(urlsplit(one.url).path))
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    # There and back again: what is under the pointer moves with it.
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 80, y + 50, steps=4)
    page.mouse.up()
    expect(page.locator("#plane[data-settled]")).to_be_attached()
    assert set(asked) <= {ICON}
    page.mouse.click(x + 80, y + 50)
    page.wait_for_url(re.compile(f"tile={TILE}"))
    expect(page.get_by_role("heading", name=f"Tile {TILE}")).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert page.locator("#grid .card").count() == 24
    assert page.locator("img.failed").count() == 0
    keep_screen(page, "sky-tile-1440-dark")
    page.reload()
    expect(page.get_by_role("heading", name=f"Tile {TILE}")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="1 failed")).to_be_visible()
    page.go_forward()
    page.get_by_role("link", name="All its objects").click()
    page.wait_for_url(re.compile("/search"))
    expect(page.locator(".card")).to_have_count(60)


def test_failures_are_read_and_the_sky_is_used_by_keys(open_page: Opened, scanned: Server) -> None:
    page = open_page("/sky")
    expect(page.locator("#canvas")).to_have_attribute("data-drawn", "2 part")
    expect(page.locator(".failures")).to_contain_text(MESSAGE)
    page.get_by_role("link", name=FAILED).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(f"tile={FAILED}"))
    expect(page.locator("#answer")).to_contain_text(MESSAGE)
    expect(page.locator("#answer")).to_contain_text("Download the file again.")
    page.locator("#plane").focus()
    page.keyboard.press("Escape")
    page.wait_for_url(lambda url: "tile=" not in url)
    ra, dec = middle_of(page, scanned)
    page.goto(f"{scanned.address}/sky?at={ra},{dec}&field=1.5")
    expect(page.locator("#canvas")).to_have_attribute("data-drawn", "2 part")
    page.locator("#plane").focus()
    page.keyboard.press("+")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(f"tile={TILE}"))
    page.get_by_role("button", name="Whole sky").click()
    expect(page.locator("#canvas")).to_have_attribute("data-drawn", "2 whole")
    page.get_by_role("button", name="All tiles").click()
    expect(page.locator("#canvas")).to_have_attribute("data-drawn", "2 part")


def test_the_projections_keep_areas_and_lead_back(open_page: Opened, scanned: Server) -> None:
    page = open_page("/sky")
    worst = page.evaluate("""async () => {
        const { makeProjection, unit } = await import("/static/projection.js");
        const found = { away: 0, area: 0, flipped: 0, lost: 0 };
        const views = [[[194, 56], 5], [[10, -80], 120], [[359.9, 0], 0.3], [[200, 0], 360], [[0, 89], 170]];
        for (const [at, field] of views) {
            const sky = makeProjection(at, field, 900, 600), size = field / 1e4;
            const area = (ra, dec) => {
                const wide = size / Math.cos(dec * Math.PI / 180);
                const corners = [[0, 0], [wide, 0], [wide, size], [0, size]];
                const square = corners.map(([x, y]) => sky.toPixel(unit(ra + x, dec + y)));
                return square.reduce((sum, [x, y], one) => {
                    const [a, b] = square[(one + 1) % 4];
                    return sum + (x * b - a * y) / 2;
                }, 0);
            };
            for (let ra = 1; ra < 360; ra += 17) for (let dec = -85; dec < 90; dec += 11) {
                const pixel = sky.toPixel(unit(ra, dec)), back = pixel && sky.toSky(pixel);
                if (!pixel) continue;
                if (!back) { found.lost += 1; continue; }
                const [a, b] = [unit(ra, dec), unit(...back)];
                found.away = Math.max(found.away, Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]));
                const part = area(ra, dec) / sky.scale ** 2 / (size * Math.PI / 180) ** 2;
                // East on the left: the outline goes round the other way, always with the same area.
                if (Math.abs(ra - at[0] - 180) > 1) found.area = Math.max(found.area, Math.abs(Math.abs(part) - 1));
                if (part < 0) found.flipped += 1;
            }
        }
        return found;
    }""")
    assert worst["lost"] == worst["flipped"] == 0
    assert worst["away"] < 1e-6
    assert worst["area"] < 0.02


@pytest.mark.parametrize(("width", "theme"), [(1440, "dark"), (1440, "light"), (390, "dark"), (390, "light")])
def test_the_sky_is_kept_for_people_to_look_at(
    open_page: Opened, scanned: Server, keep_screen: Keep, width: int, theme: str
) -> None:
    page = open_page("/sky", width, theme, bypass_csp=True)
    expect(page.locator("#canvas")).to_have_attribute("data-drawn", "2 part")
    page.wait_for_load_state("networkidle")
    keep_screen(page, f"sky-{width}-{theme}")
    assert not violations(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.fixture
def over_images(scanned: Server, tmp_path: Path) -> Iterator[str]:
    """Address of a server with an Aladin Lite. Its licence is the GPL, so a program of the same names stands in."""
    program = tmp_path / "aladin.js"
    program.write_text(
        """globalThis.A = {
            init: WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])),
            aladin: (place, options) => {
                document.querySelector(place).textContent = `shows ${options.target}`;
                return { addOverlay: (overlay) => { A.shown = overlay; } };
            },
            graphicOverlay: () => ({ addFootprints(all) { this.all = all; } }),
            polygon: (corners) => corners,
        };""",
        encoding="utf-8",
    )
    site = Site(catalogs.open(scanned.folder / "embeddings"), aladin=str(program))
    server = uvicorn.Server(uvicorn.Config(make_app(site, None, demo_site.TOKEN), port=0, log_level="warning"))
    started = threading.Event()
    startup = server.startup

    async def announced(sockets: object = None) -> None:
        await startup(sockets)  # type: ignore[arg-type]
        started.set()

    server.startup = announced  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    started.wait()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_aladin_lite_shows_the_tiles_over_images(browser: Browser, over_images: str) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda said: refused.append(said.text) if said.type == "error" else None)
    page.goto(f"{over_images}/sky?token={demo_site.TOKEN}")
    expect(page.locator("#canvas")).to_have_attribute("data-drawn", "2 part")
    page.get_by_role("link", name="Over a survey image").click()
    page.wait_for_url(re.compile("/sky/aladin"))
    expect(page.locator("body")).to_have_attribute("data-shown", "1")
    expect(page.locator("#aladin-lite-div")).to_contain_text("shows 194")
    corners = page.evaluate("A.shown.all[0].length")
    assert corners >= 4
    assert not refused
    context.close()
