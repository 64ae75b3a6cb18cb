"""Search, as a person does it in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from playwright.sync_api import Page, expect

import catalogs
from scanner.cli.demo import DEMO
from scanner.figures.composite import compose_rgb
from scanner.queries.query import QueryBuilder
from scanner.windows.by_position import Flux
from tests.browser.conftest import Server
from tests.browser.pages import violations, wait_for_pictures
from tests.support import demo_site

RA, DEC = demo_site.lenses()[0]

Opened = Callable[..., Page]
Keep = Callable[[Page, str], None]


@pytest.fixture(scope="session")
def lens(server: Server) -> Flux:
    """The cutout of the first lens."""
    snapshot = catalogs.open(server.folder / "embeddings").snapshot()
    return QueryBuilder(snapshot, root=DEMO).windows().of("217.292", RA, DEC)


def asked(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_the_printed_address_lets_in_and_no_other(open_page: Opened, server: Server) -> None:
    page = open_page("/search?limit=1")
    page.context.clear_cookies()
    answer = page.goto(f"{server.address}/search?limit=1")
    assert answer is not None
    assert answer.status == 401
    page.goto(f"{server.address}/search?limit=1&token={demo_site.TOKEN}")
    assert page.url == f"{server.address}/search?limit=1"
    # More come by themselves until the window is full.
    expect(page.locator(".card").first).to_be_visible()


def test_from_a_position_to_more_like_this_by_keys(open_page: Opened, keep_screen: Keep) -> None:
    page = open_page()
    page.get_by_label("Position, name or object", exact=True).fill(f"{RA} {DEC}")
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_have_count(60)
    first = page.locator(".card .shot").first
    first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"id=\d+"))
    assert len(asked(page)["id"]) == 1
    page.locator(".card .acts a").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".example")).to_have_count(2)
    page.get_by_role("link", name="any of them").click()
    # Until all of it is there: the address is that of the new page before its cards are.
    page.wait_for_url(re.compile("mix=nearest"))
    assert asked(page)["mix"] == ["nearest"]
    # The address is the state: a reload, and the way back, show the same, and then what one scrolls to.
    listed = page.locator(".card .shot").evaluate_all("all => all.map(one => one.href)")[:60]
    page.reload()
    assert page.locator(".card .shot").evaluate_all("all => all.map(one => one.href)")[:60] == listed
    page.go_back()
    expect(page.locator(".example")).to_have_count(2)
    wait_for_pictures(page)
    expect(page.locator("img.failed")).to_have_count(0)
    keep_screen(page, "examples-1440-dark")


def test_filters_and_more_on_scrolling(open_page: Opened) -> None:
    page = open_page("/search?sort=mag_auto", bypass_csp=True)
    page.get_by_text("Filter", exact=True).click()
    assert not violations(page)
    page.get_by_label("Column").select_option("snr")
    page.get_by_role("textbox", name="from").fill("8")
    page.get_by_role("textbox", name="to", exact=True).fill("1e3")
    page.get_by_role("button", name="Add").click()
    page.wait_for_url(re.compile("where="))
    assert asked(page)["where"] == ["8 <= snr <= 1000"]
    expect(page.locator(".card")).to_have_count(60)
    # As one scrolls: cutouts that load push the link down again.
    more = "document.querySelector('.more')?.scrollIntoView()"
    page.wait_for_function(f"() => {{ {more}; return document.querySelectorAll('.card').length > 60; }}")
    objects = page.locator(".card .acts a:last-child").evaluate_all("all => all.map(one => one.href)")
    assert len(set(objects)) == len(objects) > 60
    page.get_by_role("link", name="Remove the filter").click()
    page.wait_for_url(lambda url: "where" not in url)


def test_what_is_listed_is_saved_as_a_table(open_page: Opened, keep_screen: Keep, tmp_path: Path) -> None:
    page = open_page(f"/search?at={RA}+{DEC}&where=mag_auto+<+22")
    page.get_by_text("Save", exact=True).click()
    expect(page.get_by_role("button", name="To TOPCAT, Aladin")).to_be_visible()
    keep_screen(page, "search-save")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV", exact=True).click()
    download.value.save_as(tmp_path / "search.csv")
    saved = Table.read(tmp_path / "search.csv", format="ascii.csv")
    assert len(saved) > 60
    assert (saved["mag_auto"] < 22).all()
    assert saved["object_id"][0] == int(page.locator(".card .acts a").nth(1).get_attribute("href").rsplit("/")[-1])


def test_an_uploaded_cutout(open_page: Opened, lens: Flux, tmp_path: Path) -> None:
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(plane, name=band) for band, plane in zip("ugriz", lens, strict=True))]
    for hdu in hdus[1:]:
        hdu.header["BUNIT"], hdu.header["PIXSCALE"] = "nJy", 0.18577
    fits.HDUList(hdus).writeto(tmp_path / "mine.fits")
    page = open_page()
    page.locator("#upload").set_input_files(tmp_path / "mine.fits")
    page.wait_for_url(re.compile("upload="))
    expect(page.locator(".example")).to_contain_text("mine.fits")
    expect(page.locator(".card")).to_have_count(60)


def test_the_browser_draws_the_colours_of_the_figures(open_page: Opened, lens: Flux) -> None:
    # A gap of no data in one band, and in all of them.
    flux = lens.copy()
    flux[2, :9, :9] = flux[:, 40:, 50:] = np.nan
    page = open_page()
    script = """async ([planes, size]) => {
        const { Cutout, draw } = await import("/static/cutout.js");
        const canvas = document.createElement("canvas");
        const numbers = planes.map(plane => Float32Array.from(plane, value => value ?? NaN));
        draw(canvas, new Cutout(["u", "g", "r", "i", "z"], size, 0.18577, numbers));
        return [...canvas.getContext("2d").getImageData(0, 0, size, size).data];
    }"""
    planes = [[None if np.isnan(value) else float(value) for value in plane.ravel()] for plane in flux]
    drawn = np.array(page.evaluate(script, [planes, 64])).reshape(64, 64, 4)[..., :3]
    expected = compose_rgb(flux, tuple("ugriz")).astype(int)
    assert np.abs(drawn - expected).max() <= 1


def test_one_object_is_looked_at_without_further_requests(open_page: Opened, keep_screen: Keep) -> None:
    page = open_page(f"/search?at={RA}+{DEC}")
    page.locator(".example a").first.click()
    canvas = page.locator(".viewer canvas[data-drawn]")
    expect(canvas).to_have_attribute("data-drawn", "cutout colour asinh grey 0 false")
    requests: list[str] = []
    page.on("request", lambda one: requests.append(one.url))
    page.get_by_role("button", name="g", exact=True).click()
    page.get_by_role("button", name="residual").click()
    page.get_by_label("stretch").select_option("log")
    page.get_by_label("map").select_option("viridis")
    expect(canvas).to_have_attribute("data-drawn", "cutout g log viridis 0 true")
    assert not requests
    page.get_by_role("button", name="wide").click()
    expect(canvas).to_have_attribute("data-drawn", "wide g log viridis 0 true")
    keep_screen(page, "residual-1440-dark")
