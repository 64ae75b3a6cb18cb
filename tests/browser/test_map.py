"""The map in a browser, with WebGL and without: zoom, a lasso by hand, and what is inside becomes a round."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

import catalogs
from catalogs.maps import build
from catalogs.maps.read import MapSettings
from scanner.hunt.project import Project
from tests.browser.conftest import CHROMIUM, PATIENCE, Server
from tests.browser.pages import ICON, violations

expect.set_options(timeout=PATIENCE)

Opened = Callable[..., Page]
Keep = Callable[[Page, str], None]
OBJECTS = 509
WEBGL, PIXELS = "webgl", "pixels"
FLAGS = {
    # A graphics card of software, so that it is there on any machine.
    WEBGL: ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"],
    PIXELS: ["--disable-gpu", "--disable-3d-apis"],
}


@pytest.fixture(scope="module", params=[WEBGL, PIXELS])
def kind(request: pytest.FixtureRequest) -> str:
    """How the browser draws the points."""
    return str(request.param)


@pytest.fixture(scope="module")
def browser(browser: Browser, kind: str) -> Iterator[Browser]:
    """A browser of this file's own, with WebGL or without."""
    assert CHROMIUM
    made = browser.browser_type.launch(executable_path=CHROMIUM, args=["--no-sandbox", *FLAGS[kind]])
    yield made
    made.close()


@pytest.fixture(scope="module")
def mapped(server: Server) -> Server:
    build.build_map(catalogs.open(server.folder / "embeddings"), MapSettings("pca"))
    return server


def settled(page: Page) -> str:
    """Wait until the points are drawn and the cutouts placed; returns the number of cutouts and what is shown."""
    expect(page.locator("#points[data-drawn]")).to_be_attached()
    expect(page.locator("#plane[data-settled]")).to_be_attached()
    page.wait_for_load_state("networkidle")
    return page.locator("#plane").get_attribute("data-settled") or ""


def corner(page: Page) -> tuple[float, float, float]:
    """Left, top and side of the map on the screen."""
    box = page.locator("#plane").bounding_box()
    assert box is not None
    return box["x"], box["y"], box["width"]


def test_moving_and_zooming_ask_the_server_for_nothing(
    open_page: Opened, mapped: Server, keep_screen: Keep, kind: str
) -> None:
    page = open_page("/map?name=pca&colour=score_lens")
    before = settled(page)
    expect(page.locator("#points")).to_have_attribute("data-drawn", f"{kind} {OBJECTS}")
    expect(page.locator("#legend")).to_contain_text("score_lens")
    keep_screen(page, f"map-1440-dark-{kind}")
    asked: list[str] = []
    page.on("request", lambda one: asked.append(urlsplit(one.url).path))
    left, top, side = corner(page)
    page.mouse.move(left + side / 2, top + side / 2)
    page.mouse.down()
    page.mouse.move(left + side / 2 + 60, top + side / 2 - 40, steps=4)
    page.mouse.up()
    page.wait_for_url(re.compile("box="))
    moved = [float(one) for one in parse_qs(urlsplit(page.url).query)["box"][0].split(",")]
    whole = [float(one) for one in before.split()[1].split(",")]
    # What was in the middle went right and up with the pointer.
    scale = (whole[2] - whole[0]) / side
    assert moved == pytest.approx(
        [whole[0] - 60 * scale, whole[1] - 40 * scale, whole[2] - 60 * scale, whole[3] - 40 * scale], abs=2 * scale
    )
    before = page.locator("#plane").get_attribute("data-settled") or ""
    page.mouse.wheel(0, -240)
    page.locator("#plane").focus()
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("before => document.getElementById('plane').dataset.settled !== before", arg=before)
    page.keyboard.press("0")
    page.wait_for_url(lambda url: "box=" not in url)
    # Cutouts of what is close are pictures that nobody had before.
    assert {path for path in asked if not path.startswith(("/map/cutouts/", "/cutouts/"))} <= {ICON}


def test_cutouts_stand_where_their_objects_are(open_page: Opened, mapped: Server, keep_screen: Keep, kind: str) -> None:
    page = open_page("/map?name=pca")
    body = page.request.get(f"{mapped.address}/map/points?name=pca").body()
    ids, places = np.frombuffer(body, "<i8", OBJECTS), np.frombuffer(body, "<f4", offset=8 * OBJECTS).reshape(2, -1)
    whole = page.request.get(f"{mapped.address}/map?name=pca").json()["whole"]
    x, y = map(float, places[:, 0])
    half = (whole[2] - whole[0]) / 24
    page.goto(
        f"{mapped.address}/map?{urlencode({'name': 'pca', 'box': f'{x - half},{y - half},{x + half},{y + half}'})}"
    )
    settled(page)
    stamp = page.locator(f"#near a[data-id='{ids[0]}']")
    expect(stamp).to_be_visible()
    expect(page.locator("#near img.failed")).to_have_count(0)
    page.wait_for_function("[...document.querySelectorAll('#near img')].every(one => one.naturalWidth > 0)")
    left, top, side = corner(page)
    box = stamp.bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2 - left, box["y"] + box["height"] / 2 - top)
    assert middle == pytest.approx((side / 2, side / 2), abs=2)
    keep_screen(page, f"map-close-1440-dark-{kind}")
    stamp.click()
    page.wait_for_url(re.compile(f"/objects/{ids[0]}"))


def test_both_ways_paint_the_same_points(open_page: Opened, mapped: Server, kind: str) -> None:
    page = open_page("/map?name=pca")
    settled(page)
    if kind == WEBGL:
        # A card may go away, as where a laptop sleeps: the map stays.
        page.evaluate("""() => document.getElementById("points").getContext("webgl")
            .getExtension("WEBGL_lose_context").loseContext()""")
        expect(page.locator("#points")).to_have_attribute("data-drawn", f"{PIXELS} {OBJECTS}")
    drawn = page.evaluate("""async () => {
        const { makePainter, paint } = await import("/static/points.js");
        const canvas = document.createElement("canvas");
        canvas.id = "trial";
        canvas.style.width = canvas.style.height = "64px";
        document.body.append(canvas);
        const stops = [[0, 0, 0], [255, 0, 0]], scale = { low: 10, high: 20, names: [] };
        const painter = makePainter("trial", () => {});
        const x = [0.25, 0.75, 0.25], y = [0.75, 0.25, 0.25];
        painter.load({ count: 3, x, y, colour: paint(3, [20, 15, NaN], scale, stops, []) });
        painter.draw([0, 0, 1, 1], 5, 1);
        const flat = document.createElement("canvas");
        flat.width = flat.height = 64;
        const pen = flat.getContext("2d");
        pen.drawImage(document.getElementById("trial"), 0, 0);
        return [document.getElementById("trial").dataset.drawn, [...pen.getImageData(0, 0, 64, 64).data]];
    }""")
    assert drawn[0] == f"{kind} 3"
    image = np.array(drawn[1]).reshape(64, 64, 4)
    # Up on the map is up on the screen; half way up the scale is half as bright; a value that is not known is grey.
    for (row, column), expected in {(16, 16): (255, 0, 0), (48, 48): (128, 0, 0), (48, 16): (122, 126, 136)}.items():
        assert np.abs(image[row, column, :3] - expected).max() <= 2
        assert image[row, column, 3] > 250
    # Discs of five pixels, and nothing else.
    assert (image[..., 3] > 128).sum() == pytest.approx(3 * np.pi * 25, rel=0.15)
    assert image[16, 48, 3] == 0


def test_a_lasso_chooses_what_becomes_a_round(open_page: Opened, mapped: Server, keep_screen: Keep, kind: str) -> None:
    page = open_page("/map?name=pca&colour=mag_auto", bypass_csp=True)
    settled(page)
    left, top, side = corner(page)
    # Around the right half, by hand: with a key, or with the button that a phone has in its place.
    if kind == WEBGL:
        page.keyboard.down("Shift")
    else:
        page.get_by_role("button", name="Choose", exact=True).click()
    page.mouse.move(left + side * 0.5, top + 2)
    page.mouse.down()
    for x, y in ((0.99, 0.01), (0.99, 0.99), (0.5, 0.99)):
        page.mouse.move(left + side * x, top + side * y, steps=5)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.wait_for_url(re.compile("lasso="))
    expect(page.get_by_role("heading", name="chosen")).to_be_visible()
    page.wait_for_load_state("networkidle")
    keep_screen(page, f"map-lasso-1440-dark-{kind}")
    assert not violations(page)

    lasso = parse_qs(urlsplit(page.url).query)["lasso"][0]
    inside = page.request.get(f"{mapped.address}/map", params={"name": "pca", "lasso": lasso}).json()
    assert 0 < inside["count"] < OBJECTS
    expect(page.get_by_role("heading", name="chosen")).to_contain_text(f"{inside['count']} chosen")
    # The address is the state: a reload shows the same, the way back shows nothing chosen.
    page.reload()
    expect(page.get_by_role("heading", name="chosen")).to_contain_text(f"{inside['count']} chosen")
    expect(page.locator("#lasso")).to_have_attribute("points", re.compile(r"\d,\d"))
    page.go_back()
    expect(page.locator("#answer .empty")).to_be_visible()
    page.go_forward()
    expect(page.get_by_role("heading", name="chosen")).to_be_visible()
    like_these = page.get_by_role("link", name="More like these").get_attribute("href") or ""
    assert set(parse_qs(urlsplit(like_these).query)["id"]) <= set(inside["object_ids"])

    before = len(Project(mapped.folder / "hunt").rounds()) if (mapped.folder / "hunt").exists() else 0
    page.get_by_role("button", name="Inspect these").click()
    page.wait_for_url(re.compile(r"/hunt/\d+/mosaic"))
    chosen = Project(mapped.folder / "hunt").round(before + 1).place["object_id"]
    assert sorted(map(str, chosen)) == sorted(inside["object_ids"])


def test_the_map_is_kept_for_people_to_look_at(open_page: Opened, mapped: Server, keep_screen: Keep, kind: str) -> None:
    for width, theme in ((1440, "light"), (390, "dark")) if kind == WEBGL else ((390, "light"),):
        page = open_page("/map?name=pca&colour=tile", width, theme, bypass_csp=True)
        settled(page)
        keep_screen(page, f"map-{width}-{theme}")
        assert not violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
