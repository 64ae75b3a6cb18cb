"""Hostile input of the page: uploads, words that are code elsewhere, paths that lead out, and requests of others."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits
from fastapi.testclient import TestClient

import catalogs
from catalogs.errors import ErrorCode, ScannerError
from scanner.cli.demo import DEMO
from scanner.hunt.scheme import DEFAULT
from scanner.web import upload
from scanner.web.app import make_app
from scanner.web.hunter import Hunter
from scanner.web.site import Site
from scanner.web.upload import read_apart
from tests.scanner.web.test_page import DEC, HTML, RA, stranger
from tests.support import demo_site, uploads
from tests.support.waiting import until

SCRIPT = "</script><script>alert(1)</script>"


def card(text: str) -> bytes:
    return text.encode("latin-1").ljust(80)


def header(*cards: bytes, end: bool = True) -> bytes:
    content = b"".join([card("SIMPLE  =                    T"), *cards, *([card("END")] if end else [])])
    return content + b" " * (-len(content) % 2880)


FLOATS = card("BITPIX  =                  -32")
HOSTILE_FITS = {
    "a thousand axes": header(FLOATS, card("NAXIS   =              2000000")),
    "an image of 10^18 pixels": header(
        FLOATS, card("NAXIS   =                    2"), card("NAXIS1  =           1000000000"),
        card("NAXIS2  =           1000000000"), card("EXTNAME = 'r'"),
    ),
    "a negative size": header(
        FLOATS, card("NAXIS   =                    2"), card("NAXIS1  =                  -64"),
        card("NAXIS2  =                   64"), card("EXTNAME = 'r'"),
    ),
    "HIERARCH cards": header(
        FLOATS, card("NAXIS   =                    0"),
        *(card(f"HIERARCH {'A' * n} NAXIS = 2147483647 / {SCRIPT}") for n in range(1, 30)),
    ),
    "letters that are no ASCII": header(
        FLOATS, card("NAXIS   =                    0"), card("OBJECT  = 'é\xff\x00\x1b[31m'")
    ),
    "no END": header(FLOATS, card("NAXIS   =                    0"), end=False) + card("COMMENT x") * 36 * 100,
    "text of many cards": header(FLOATS, card("NAXIS   =                    0"), *[card("CONTINUE  '&'")] * 20_000),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_FITS)
def test_a_hostile_header_is_an_error_and_the_server_goes_on(client: TestClient, name: str) -> None:
    answer = client.post("/upload", files={"file": ("x.fits", HOSTILE_FITS[name])})
    assert answer.status_code == 400, answer.text
    assert ErrorCode(answer.json()["code"]).meaning
    # Where the server keeps its temporary files is nobody's business.
    assert tempfile.gettempdir() not in answer.text
    assert client.get("/search?limit=1").status_code == 200


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bomb.fits.gz", gzip.compress(bytes(50_000_000))),
        ("picture.fits", b"\x89PNG\r\n\x1a\n" + bytes(5000)),
        ("large.fits", b"SIMPLE  =" + b" " * (upload.LARGEST + 1)),
        ("empty.fits", b""),
    ],
)
def test_what_is_no_small_fits_file_is_read_by_nobody(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes
) -> None:
    monkeypatch.setattr(upload, "read_apart", lambda *_: pytest.fail("it was read"))
    answer = client.post("/upload", files={"file": (name, content)})
    assert (answer.status_code, answer.json()["code"]) == (400, "cutout.unreadable")
    too_large = client.post("/upload", content=b"x" * (65 * 2**20), headers={"content-type": "multipart/form-data"})
    assert 400 <= too_large.status_code < 500


def test_a_list_that_unpacks_to_too_much_is_refused(client: TestClient) -> None:
    # A file of many parts, each of 32 MB.
    bomb = gzip.compress(b"ra,dec\n") + 20 * gzip.compress(b"1,1\n" * 2**23, 1)
    answer = client.post("/hunt/lists", files={"file": ("bomb.csv", bomb)})
    assert answer.status_code == 400
    assert ErrorCode(answer.json()["code"]).meaning
    assert client.post("/hunt/lists", files={"file": ("bomb.csv.gz", bomb)}).json()["code"] == "hunt.bad_list"
    assert client.get("/search?limit=1").status_code == 200


@pytest.mark.parametrize("read", [uploads.crash, uploads.take_memory, uploads.write_file])
def test_a_reader_that_ends_is_an_error(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(ScannerError) as caught:
        read_apart(read, tmp_path / "x.fits")
    assert caught.value.code == ErrorCode.CUTOUT_UNREADABLE
    assert not (tmp_path / "beside").exists() or not (tmp_path / "beside").read_bytes()


def test_a_reader_that_is_killed_is_an_error_and_leaves_no_process(tmp_path: Path) -> None:
    caught = []

    def read() -> None:
        with pytest.raises(ScannerError) as raised:
            read_apart(uploads.wait_for_ever, tmp_path / "x.fits")
        caught.append(raised.value)

    waiting = threading.Thread(target=read)
    waiting.start()
    until(multiprocessing.active_children)
    (process,) = multiprocessing.active_children()
    os.kill(int(process.pid or 0), signal.SIGKILL)
    waiting.join()
    assert caught[0].code == ErrorCode.CUTOUT_UNREADABLE
    assert "took too long or too much memory" in caught[0].message
    assert not multiprocessing.active_children()


def test_words_of_a_scheme_and_comments_are_words(tmp_path: Path, catalogue: Path) -> None:
    scheme = tmp_path / "scheme.toml"
    text = DEFAULT.read_text(encoding="utf-8")
    hostile = text.replace('name = "A"', f'name = "{SCRIPT}A"').replace('meaning = "', f'meaning = "{SCRIPT}')
    assert hostile.count(SCRIPT) > 4
    scheme.write_text(hostile.replace('grade = "A"', f'grade = "{SCRIPT}A"'), encoding="utf-8")
    site = Site(catalogs.open(catalogue), root=DEMO)
    hunter = Hunter(site, tmp_path / "hunt", f"me{SCRIPT}", scheme)
    headers = {"authorization": f"Bearer {demo_site.TOKEN}"}
    with TestClient(make_app(site, hunter, demo_site.TOKEN), "http://localhost", headers=headers) as client:
        asked = {"question": {"sort": "mag_auto"}, "count": 3, "title": SCRIPT}
        assert client.post("/hunt/rounds", json=asked).status_code == 201
        said = [{"number": 0, "grade": f"{SCRIPT}A", "comment": f"{SCRIPT}\n=1+1 \x00 \u2028"}]
        batch = {"batch": "batch-one", "verdicts": said, "view": "one", "stretch": SCRIPT}
        assert client.post("/hunt/1/verdicts", json=batch).status_code == 201
        for address in ("/hunt", "/hunt/1/mosaic", "/hunt/1/one", "/hunt/1/one?of=<script>alert(2)</script>"):
            page = client.get(address, headers=HTML).text
            assert "<script>alert" not in page
        assert client.get("/hunt/1/one").json()["objects"][0]["comment"] == said[0]["comment"]
        assert SCRIPT in client.get("/hunt/verdicts?format=json").json()[0]["comment"]
    hunter.stop()


LEADING_OUT = (
    "../../../../etc/passwd",
    "/etc/passwd",
    "..\\..\\etc\\passwd",
    "....//etc/passwd",
    "file:///etc/passwd",
    ".",
    "..",
    "\x00",
)


def test_no_text_of_any_address_leads_to_a_file(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scanner.web.site.read_place", _unknown)
    described = client.get("/openapi.json").json()
    tried = 0
    for path, operations in described["paths"].items():
        for given in operations.get("get", {}).get("parameters", []):
            if "integer" in json.dumps(given["schema"]) and "string" not in json.dumps(given["schema"]):
                continue
            for text in LEADING_OUT:
                needed = {"ra": str(RA), "dec": str(DEC)} if path.startswith("/cutouts/") else {}
                address = path.replace("{" + given["name"] + "}", text.replace("/", "%2f").replace("\x00", "%00"))
                if "{" in address:
                    address = address.replace("{number}", "1").replace("{place}", "0")
                query = needed if given["in"] == "path" else {**needed, given["name"]: text}
                answer = client.get(address, params=query)
                assert answer.status_code < 500, (address, query)
                assert b"root:" not in answer.content, (address, query)
                tried += 1
    assert tried > 60


def _unknown(text: str, known: object) -> None:
    raise ScannerError(ErrorCode.NAME_UNRESOLVED, "There is no network in this test.")


def test_nothing_changes_without_the_token_in_a_header(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    changing = [
        (method, path)
        for path, operations in described["paths"].items()
        for method in operations
        if method not in ("get", "head")
    ]
    assert {"/upload", "/hunt/rounds", "/hunt/rerank", "/hunt/lists", "/hunt/undo"} <= {path for _, path in changing}
    other = stranger(client)
    other.cookies.set("scanner", demo_site.TOKEN)
    for method, path in changing:
        address = path.replace("{number}", "1")
        for headers in ({}, {"x-scanner-token": "wrong"}, {"authorization": "Bearer wrong"}):
            assert other.request(method, address, headers=headers, json={}).status_code == 403
        # The token does not help a page of another site, or one that calls the server by another name.
        token = {"x-scanner-token": demo_site.TOKEN}
        for more in (
            {"origin": "http://localhost.evil.example"},
            {"host": "evil.example"},
            {"sec-fetch-site": "cross-site"},
        ):
            assert other.request(method, address, headers={**token, **more}, json={}).status_code == 403
        assert client.get(address).status_code in (404, 405, 422, 200)


def test_pictures_of_a_scheme_are_of_the_project_alone(tmp_path: Path, catalogue: Path) -> None:
    site = Site(catalogs.open(catalogue), root=DEMO)
    hunter = Hunter(site, tmp_path / "hunt", "me")
    headers = {"authorization": f"Bearer {demo_site.TOKEN}"}
    with TestClient(make_app(site, hunter, demo_site.TOKEN), "http://localhost", headers=headers) as client:
        client.post("/hunt/rounds", json={"question": {"sort": "mag_auto"}, "count": 2})
        named = [one for one in hunter.project.scheme.grades if one.picture]
        assert named
        picture = tmp_path / "hunt" / named[0].picture
        picture.unlink(missing_ok=True)
        (tmp_path / "secret.png").write_bytes(b"secret")
        picture.symlink_to(tmp_path / "secret.png")
        for grade in (named[0].name, "%2e%2e", "scheme.toml", "verdicts.sqlite"):
            assert b"secret" not in client.get(f"/hunt/picture/{grade}").content
            assert client.get(f"/hunt/picture/{grade}").status_code == 404
    hunter.stop()


def test_the_header_of_a_sound_cutout_is_data(client: TestClient, tmp_path: Path) -> None:
    """Cards with code in them do no harm where the pixels are read."""
    flux = client.app.state.site.builder.windows().at(RA, DEC)  # type: ignore[attr-defined]
    hdus = [fits.PrimaryHDU()]
    for band, plane in zip("ugriz", flux, strict=True):
        hdu = fits.ImageHDU(plane, name=band)
        hdu.header["BUNIT"], hdu.header["PIXSCALE"], hdu.header["OBJECT"] = "nJy", 0.18577, "<script>alert(1)</script>"
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(tmp_path / "mine.fits")
    name = '"><script>alert(1)</script>\r\nX: y.fits'
    given = client.post("/upload", files={"file": (name, (tmp_path / "mine.fits").read_bytes())})
    assert given.status_code == 201, given.text
    assert "<script>alert" not in client.get(given.json()["at"], headers=HTML).text
