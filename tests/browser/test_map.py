"""The map in a browser: zoom, a lasso by hand, and what is inside becomes a round."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

import catalogs
from catalogs.maps import build
from catalogs.maps.read import MapSettings
from scanner.hunt.project import Project
from tests.browser.conftest import PATIENCE, Server
from tests.browser.test_search import violations

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def mapped(server: Server) -> Server:
    build.build_map(catalogs.open(server.folder / "embeddings"), MapSettings("pca"))
    return server


def test_a_lasso_chooses_what_becomes_a_round(
    open_page: Callable[..., Page], mapped: Server, keep_screen: Callable[[Page, str], None]
) -> None:
    page = open_page("/map?colour=mag_auto", bypass_csp=True)
    plane = page.locator("#plane")
    box = plane.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -300)
    page.wait_for_url(re.compile("box="))
    plane.focus()
    page.keyboard.press("0")
    page.wait_for_url(lambda url: "box=" not in url)

    # Around the right half, by hand.
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 2)
    page.mouse.down()
    for x, y in ((0.99, 0.01), (0.99, 0.99), (0.5, 0.99)):
        page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y, steps=5)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.wait_for_url(re.compile("lasso="))
    page.wait_for_load_state("networkidle")
    keep_screen(page, "map-1440-dark")
    assert not violations(page)

    lasso = parse_qs(urlsplit(page.url).query)["lasso"][0]
    inside = page.request.get(f"{mapped.address}/map", params={"name": "pca", "lasso": lasso}).json()
    assert 0 < inside["count"] < 509
    before = len(Project(mapped.folder / "hunt").rounds()) if (mapped.folder / "hunt").exists() else 0
    page.get_by_role("button", name="Inspect these").click()
    page.wait_for_url(re.compile(r"/hunt/\d+/mosaic"))
    project = Project(mapped.folder / "hunt")
    chosen = project.round(before + 1).place["object_id"]
    assert sorted(map(str, chosen)) == sorted(inside["object_ids"])
