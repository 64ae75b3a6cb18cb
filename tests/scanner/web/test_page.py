"""The page without a browser: what its addresses answer, whom it answers, and what it refuses."""

from __future__ import annotations

import hashlib
import io
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fastapi.testclient import TestClient
from PIL import Image

import catalogs
from catalogs.errors import ErrorCode
from catalogs.ranking.feedback import match_marks, read_marks
from scanner.cli.demo import DEMO
from scanner.figures.composite import compose_rgb
from scanner.queries.query import QueryBuilder
from scanner.web import pages
from scanner.web.question import Question, join_filter, split_filter
from tests.support import demo_site

HTML = {"accept": "text/html"}
RA, DEC = demo_site.lenses()[0]


def stranger(client: TestClient, host: str = "localhost") -> TestClient:
    """A program of somebody else."""
    return TestClient(client.app, f"http://{host}", follow_redirects=False)


def rows(client: TestClient, address: str) -> list[dict[str, object]]:
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, object]] = answer.json()["rows"]
    return listed


def test_a_position_finds_what_the_library_finds(client: TestClient, catalogue: Path) -> None:
    expected = catalogs.open(catalogue).neighbours(ra=RA, dec=DEC, k=5)["object_id"]
    assert [row["object_id"] for row in rows(client, f"/search?at={RA}+{DEC}&limit=5")] == list(expected)


def test_pages_of_an_answer_follow_each_other(client: TestClient) -> None:
    address = "/search?where=mag_auto+<+23&sort=mag_auto&limit=7"
    first = client.get(address).json()
    second = client.get(first["next"]).json()["rows"]
    together = rows(client, address.replace("limit=7", "limit=14"))
    assert [row["object_id"] for row in first["rows"] + second] == [row["object_id"] for row in together]
    magnitudes = [row["mag_auto"] for row in together]
    assert magnitudes == sorted(magnitudes)


def test_several_examples_count_together_or_each_for_itself(client: TestClient) -> None:
    a, b = (rows(client, f"/search?at={ra}+{dec}&limit=1")[0]["object_id"] for ra, dec in demo_site.lenses()[:2])
    mean = client.get(f"/search?id={a}&id={b}&limit=5").json()
    nearest = client.get(f"/search?id={a}&id={b}&mix=nearest&limit=5").json()
    assert len(mean["examples"]) == 2
    assert {row["nearest_example"] for row in nearest["rows"]} <= {str(a), str(b)}
    for answer in (mean, nearest):
        assert not {a, b} & {row["object_id"] for row in answer["rows"]}


def test_the_same_address_answers_a_page_json_and_tables(client: TestClient) -> None:
    address = f"/search?at={RA}+{DEC}&limit=3"
    listed = rows(client, address)
    page = client.get(address, headers=HTML)
    assert page.headers["content-type"].startswith("text/html")
    assert all(f"/objects/{row['object_id']}" in page.text for row in listed)
    # htmx asks for a part of the page, and accepts anything.
    part = client.get(f"/search?at={RA}+{DEC}&limit=3&offset=3", headers={"HX-Request": "true", "Accept": "*/*"})
    assert part.headers["content-type"].startswith("text/html")
    assert (part.text.count("<article"), part.text.count("<html")) == (3, 0)
    assert client.get(f"{address}&format=csv").text.count("\n") == 4
    assert "<VOTABLE" in client.get(f"{address}&format=votable").text
    assert client.get("/openapi.json").json()["paths"]["/search"]["get"]["parameters"]


def test_cutouts_are_those_of_the_library(client: TestClient, catalogue: Path) -> None:
    windows = QueryBuilder(catalogs.open(catalogue).snapshot(), root=DEMO).windows()
    flux = windows.of("217.292", RA, DEC)
    place = f"ra={RA}&dec={DEC}&tile=217.292"
    picture = client.get(f"/cutouts/picture?{place}")
    np.testing.assert_array_equal(Image.open(io.BytesIO(picture.content)), compose_rgb(flux, windows.bands))
    window = client.get(f"/cutouts/window?{place}")
    scales, numbers = np.frombuffer(window.content[:20], "<f4"), np.frombuffer(window.content[20:], "<f2")
    read = numbers.reshape(5, 64, 64).astype(float) * scales[:, None, None]
    np.testing.assert_allclose(read, flux, rtol=1e-3, atol=1e-4)
    wide = client.get(f"/cutouts/window?{place}&field=wide")
    assert wide.headers["scanner-size"] == "192"
    middle = np.frombuffer(wide.content[20:], "<f2").reshape(5, 192, 192)[:, 64:128, 64:128]
    np.testing.assert_array_equal(middle, numbers.reshape(5, 64, 64))


def test_an_uploaded_cutout_is_an_example(client: TestClient, tmp_path: Path) -> None:
    flux = QueryBuilder(catalogs.open(client.app.state.site.catalogue.path).snapshot(), root=DEMO).windows().at(RA, DEC)
    hdus = [fits.PrimaryHDU()]
    for band, plane in zip("ugriz", flux, strict=True):
        hdu = fits.ImageHDU(plane, name=band)
        hdu.header["BUNIT"], hdu.header["PIXSCALE"] = "nJy", 0.18577
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(tmp_path / "mine.fits")
    given = client.post("/upload", files={"file": ("../<b>mine</b>.fits", (tmp_path / "mine.fits").read_bytes())})
    assert given.status_code == 201, given.text
    best = rows(client, f"{given.json()['at']}&limit=1")[0]
    assert best["object_id"] == client.get(f"/search?at={RA}+{DEC}&limit=1").json()["examples"][0]["object_id"]
    page = client.get(given.json()["at"], headers=HTML).text
    assert "b&gt;.fits" in page
    assert "<b>mine" not in page


@pytest.mark.parametrize("content", [b"not FITS at all", b"SIMPLE  =                    T" + b" " * 5000])
def test_a_file_that_is_no_cutout_is_refused(client: TestClient, content: bytes) -> None:
    answer = client.post("/upload", files={"file": ("x.fits", content)})
    assert answer.status_code == 400
    assert ErrorCode(answer.json()["code"]).meaning


def test_nobody_gets_in_without_the_token(client: TestClient) -> None:
    other = stranger(client)
    for address in ("/search", "/static/page.css", "/openapi.json", "/hunt", "/search?token=wrong"):
        assert other.get(address).status_code == 401
    door = other.get(f"/search?limit=3&token={demo_site.TOKEN}")
    assert (door.status_code, door.headers["location"]) == (303, "/search?limit=3")
    cookie = door.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    other.cookies.set("scanner", demo_site.TOKEN)
    assert other.get("/search?limit=3").status_code == 200
    # A cookie alone, which a page of another site may make a browser send, changes nothing.
    assert other.post("/hunt/undo", json={"batch": "12345678"}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "localhost.evil.example"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
    ],
)
def test_other_names_and_other_sites_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/search", headers=headers).status_code == 403
    assert client.post("/hunt/undo", json={"batch": "12345678"}, headers=headers).status_code == 403


def test_every_answer_forbids_foreign_and_inline_scripts(client: TestClient) -> None:
    for address in ("/search", "/hunt", "/objects/1", "/nowhere", "/static/page.css", "/search?where=1"):
        answer = client.get(address, headers=HTML)
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
        assert answer.headers["x-content-type-options"] == "nosniff"
    for template in sorted((pages.HERE / "templates").glob("*.html")):
        text = template.read_text(encoding="utf-8")
        assert not {
            word for word in ("style=", "onclick", "onload", "javascript:", "| safe", "autoescape") if word in text
        }
        for script in text.split("<script")[1:]:
            assert script.split(">")[0].split()[0].startswith(("src=", 'type="module"', 'type="application/json"'))


HOSTILE = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    "address",
    [
        f"/search?where={HOSTILE}", f"/search?at={HOSTILE}", f"/search?sort={HOSTILE}", f"/search?near={HOSTILE}",
        f"/search?mix={HOSTILE}", f"/filter?column={HOSTILE}", f"/filter?column=tile&value={HOSTILE}", f"/{HOSTILE}",
    ],
)  # fmt: skip
def test_what_comes_in_is_escaped(client: TestClient, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scanner.queries.places.collect_positions", lambda *_: iter(()))
    monkeypatch.setattr("scanner.web.site.read_place", lambda text, known: 1)
    answer = client.get(address, headers=HTML)
    if answer.status_code == 303:
        answer = client.get(answer.headers["location"], headers=HTML)
    assert answer.status_code < 500
    assert HOSTILE not in answer.text


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "/etc/passwd", "..%2f..%2fetc%2fpasswd", "217.292/../217.292", "%00"]
)
def test_no_parameter_leads_out_of_the_folders(client: TestClient, name: str) -> None:
    pictures = [f"/cutouts/{kind}?ra={RA}&dec={DEC}&tile={name}" for kind in ("picture", "window")]
    folders = ("static", "hunt/picture", "cutouts/upload", "objects", "hunt", "hunt/1/wide")
    for address in (*pictures, *(f"/{folder}/{name}" for folder in folders)):
        answer = client.get(address)
        assert 400 <= answer.status_code < 500
        assert "root:" not in answer.text


@pytest.mark.parametrize("folder", [pages.STATIC / "vendor", Path(__file__).parents[2] / "browser" / "vendor"])
def test_files_of_others_are_those_that_were_taken(folder: Path) -> None:
    listed = tomllib.loads((folder / "vendored.toml").read_text(encoding="utf-8"))["file"]
    assert {one["name"] for one in listed} | {"vendored.toml"} == {path.name for path in folder.iterdir()}
    for one in listed:
        assert hashlib.sha256((folder / one["name"]).read_bytes()).hexdigest() == one["sha256"]
        assert one["licence"]


def test_a_filter_is_split_and_joined_without_a_change_of_meaning() -> None:
    for text in ("a < 1 and b > 2", "(a < 1 or b > 2) and c", "not a and (b or c) and d == ' and '", "a <", ""):
        assert split_filter(join_filter(split_filter(text))) == split_filter(text)
    assert split_filter("(a < 1 or b > 2) and c") == ["(a < 1 or b > 2)", "c"]
    question = Question(id=[1, 2], where="mag_r < 21 & x", at=["1 2"])
    assert question.address() == "/search?at=1+2&id=1&id=2&where=mag_r+%3C+21+%26+x"


def test_a_hunt_from_a_search_to_marks_that_rank_reads(client: TestClient, tmp_path: Path) -> None:
    made = client.post("/hunt/rounds", json={"question": {"at": [f"{RA} {DEC}"]}, "count": 6})
    assert made.status_code == 201, made.text
    number = made.json()["round"]
    client.app.state.hunter._thread.join()
    assert client.get("/hunt").json()["rounds"][0]["cut"] == 6

    listed = client.get(f"/hunt/{number}/mosaic?seed=5&size=4").json()
    assert sorted(one["number"] for one in listed["objects"]) != [one["number"] for one in listed["objects"]]
    pixels = client.get(listed["windows"])
    assert pixels.headers["scanner-states"] == "1111"
    assert len(pixels.content) == 4 * (20 + 2 * 5 * 64 * 64)
    assert "score" not in listed["objects"][0]["row"]

    verdicts = [{"number": one["number"], "grade": "no"} for one in listed["objects"]]
    verdicts[1]["grade"] = "candidate"
    batch = {"batch": "batch-one", "verdicts": verdicts, "view": "mosaic", "seed": 5}
    for _ in range(2):  # an answer that got lost makes the page send again
        assert client.post(f"/hunt/{number}/verdicts", json=batch).json()["triaged"] == 4
    grade = {"number": verdicts[1]["number"], "grade": "A", "comment": '=HYPERLINK("x"), "quoted"\n', "seconds": 2.5}
    client.post(f"/hunt/{number}/verdicts", json={"batch": "batch-two", "verdicts": [grade], "view": "one"})
    wrong = {"batch": "batch-bad", "verdicts": [grade, {"number": 99, "grade": "A"}], "view": "one"}
    assert client.post(f"/hunt/{number}/verdicts", json=wrong).json()["code"] == "hunt.bad_verdict"

    exported = tmp_path / "verdicts.csv"
    exported.write_bytes(client.get("/hunt/verdicts?format=csv").content)
    marks = read_marks(exported)
    assert sorted(mark.kept for mark in marks) == [False, False, False, True]
    feedback = match_marks(client.app.state.site.catalogue, marks)
    assert int(feedback.kept.object_id[0]) == int(listed["objects"][1]["row"]["object_id"])

    again = client.post("/hunt/rerank", json={"count": 5}).json()
    assert again["objects"] == 5
    judged = {one["row"]["object_id"] for one in listed["objects"]}
    fresh = client.get(f"/hunt/{again['round']}/mosaic").json()["objects"]
    assert not judged & {one["row"]["object_id"] for one in fresh}

    assert client.post("/hunt/undo", json={"batch": "undo-one"}).json()["withdrawn"] == 1
    assert client.post("/hunt/undo", json={"batch": "undo-one"}).json()["withdrawn"] == 0
    assert client.post("/hunt/undo", json={"batch": "undo-two"}).json()["withdrawn"] == 4
    assert json.loads(client.get("/hunt").content)["rounds"][-1]["triaged"] == 0
