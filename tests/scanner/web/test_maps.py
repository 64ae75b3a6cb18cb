"""The map of the page: which objects a lasso holds, what a browser gets of them, and how they are drawn."""

from __future__ import annotations

import io
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import catalogs
from catalogs.errors import ErrorCode, ScannerError
from catalogs.maps import build
from catalogs.maps.read import MapSettings, read_map
from scanner.web import maps
from scanner.web.maps import MapView, Points, draw, frame, inside, select

HTML = {"accept": "text/html"}


def points(*places: tuple[float, float], value: list[float] | None = None, names: tuple[str, ...] = ()) -> Points:
    ids = np.arange(len(places))
    return Points(ids, np.array(places, np.float32), None if value is None else np.array(value, np.float32), names)


@pytest.fixture(scope="module")
def mapped(client: TestClient, catalogue: Path) -> TestClient:
    build.build_map(catalogs.open(catalogue), MapSettings("pca"))
    return client


def unpack(body: bytes, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """The ids [N] and the columns [C, N] of an answer of /map/points."""
    count = len(body) // (8 + 4 * columns)
    return np.frombuffer(body, "<i8", count), np.frombuffer(body, "<f4", offset=8 * count).reshape(columns, count)


def test_a_lasso_may_be_concave_and_drawn_either_way() -> None:
    # A letter U: its notch is outside.
    corners = np.array([(0, 0), (6, 0), (6, 6), (4, 6), (4, 2), (2, 2), (2, 6), (0, 6)], float)
    places = np.array([(1, 5), (3, 5), (5, 5), (3, 1), (7, 1), (-1, 3)], float)
    for drawn in (corners, corners[::-1]):
        assert inside(places, drawn).tolist() == [True, False, True, True, False, False]
    view = MapView(lasso=",".join(map(str, corners.ravel())))
    assert select(points(*map(tuple, places)), view).object_id.tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("name", "text"),
    [("lasso", "1,2,3"), ("lasso", "1,2,3,4"), ("lasso", "a,b,c,d,e,f"), ("box", "1,2"), ("box", "nan,0,1,1")],
)
def test_what_is_no_region_is_refused(name: str, text: str) -> None:
    with pytest.raises(ScannerError) as caught:
        MapView(**{name: text}).numbers(name)
    assert caught.value.code == ErrorCode.MAP_BAD_REGION


def test_objects_glow_where_they_are_in_the_colour_of_their_values() -> None:
    some = points((0.25, 0.25), (0.75, 0.75), (9, 9), (0.5, 0.5), value=[1, 2, 3, np.nan])
    picture = np.asarray(Image.open(io.BytesIO(draw(some, (0, 0, 1, 1), side=200))))
    alpha = picture[..., 3].astype(int)
    # Up on the map is up in the picture. What is outside, or has no value, is not drawn.
    assert alpha[149, 50] > 150
    assert alpha[49, 150] > 150
    assert alpha[99, 100] == 0
    # The higher value is the lighter one.
    assert picture[49, 150, :3].astype(int).sum() > picture[149, 50, :3].astype(int).sum() + 100
    assert frame(some, MapView(box="1,1,0,0")) == (0, 0, 1, 1)
    # Numbers that stand for names have no mean: the picture is that of the density, of all objects.
    named = points((0.25, 0.25), (0.75, 0.75), (0.5, 0.5), value=[0, 1, 1], names=("a", "b"))
    plain = points((0.25, 0.25), (0.75, 0.75), (0.5, 0.5))
    assert draw(named, (0, 0, 1, 1), side=100) == draw(plain, (0, 0, 1, 1), side=100)


def test_the_colours_of_values_are_in_order_in_greyscale() -> None:
    grey = np.array(maps.STOPS) @ (0.299, 0.587, 0.114)
    assert (np.diff(grey) > 10).all()


def test_a_browser_gets_the_places_and_values_of_the_library(mapped: TestClient, catalogue: Path) -> None:
    table = read_map(catalogs.open(catalogue), "pca", ["mag_auto", "score_lens", "tile", "is_primary"])
    answer = mapped.get("/map/points?name=pca&colour=score_lens")
    ids, (x, y, value) = unpack(answer.content, 3)
    assert answer.headers["scanner-points"] == answer.headers["scanner-objects"] == str(len(table)) == str(len(ids))
    order, wanted = np.argsort(ids), np.argsort(table["object_id"])
    assert ids[order].tolist() == table["object_id"][wanted].tolist()
    for got, name in ((x, "pca_x"), (y, "pca_y"), (value, "score_lens")):
        np.testing.assert_allclose(got[order], np.asarray(table[name])[wanted], rtol=1e-6)
    # Text is told by names, a flag by 0 and 1.
    _, (_, _, tile) = unpack(mapped.get("/map/points?name=pca&colour=tile").content, 3)
    assert mapped.get("/map?colour=tile").json()["scale"]["names"] == ["217.292"]
    assert set(tile) == {0.0}
    assert mapped.get("/map?colour=is_primary").json()["scale"]["names"] == []
    assert mapped.get("/map?colour=embedding").json()["code"] == ErrorCode.COLUMN_NOT_NUMBERS
    assert mapped.get("/map?colour=nothing").json()["code"] == ErrorCode.COLUMN_UNKNOWN
    scale = mapped.get("/map?colour=mag_auto").json()["scale"]
    assert scale["unit"] == "mag"
    assert [scale["low"], scale["high"]] == pytest.approx(
        np.nanpercentile(np.asarray(table["mag_auto"]), [2, 98]).tolist(), rel=1e-5
    )


def test_more_objects_than_points_are_a_sample_of_them_until_one_looks_closer(
    mapped: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything, places = unpack(mapped.get("/map/points?name=pca").content, 2)
    monkeypatch.setattr(maps, "MOST_POINTS", 100)
    sample = mapped.get("/map/points?name=pca")
    assert (sample.headers["scanner-points"], sample.headers["scanner-objects"]) == ("100", str(len(everything)))
    kept, _ = unpack(sample.content, 2)
    assert set(kept) < set(everything)
    assert kept.tolist() != sorted(kept)
    # A part of the map with fewer has all of them, and what was there before stays.
    x0, y0 = np.quantile(places, 0.0, axis=1)
    x1 = np.quantile(places[0], 0.15)
    part = mapped.get(f"/map/points?name=pca&box={x0},{y0},{x1},{places[1].max()}")
    near, (x, _) = unpack(part.content, 2)
    assert len(near) == int(part.headers["scanner-objects"]) == int((places[0] <= np.float32(x1)).sum())
    assert x.max() <= np.float32(x1)
    assert set(kept[np.isin(kept, near)]) <= set(near)


def test_a_lasso_counts_all_objects_and_leads_to_a_search_with_them(mapped: TestClient) -> None:
    x0, y0, x1, y1 = mapped.get("/map").json()["whole"]
    middle = (x0 + x1) / 2
    address = f"/map?lasso={x0},{y0},{middle},{y0},{middle},{y1},{x0},{y1}"
    chosen = mapped.get(address).json()
    ids, (x, _) = unpack(mapped.get("/map/points?name=pca").content, 2)
    assert sorted(map(int, chosen["object_ids"])) == sorted(ids[x < np.float32(middle)].tolist())
    assert chosen["count"] == len(chosen["object_ids"]) < chosen["objects"] == len(ids)
    page = mapped.get(address, headers=HTML).text
    assert f"{chosen['count']} chosen" in page
    link = page.split('href="/search?id=')[1].split('"')[0]
    asked = parse_qs(urlsplit(f"/search?id={link.replace('&amp;', '&')}").query)
    assert len(asked["id"]) == min(maps.EXAMPLES, chosen["count"])
    assert set(asked["id"]) <= set(chosen["object_ids"])
    assert mapped.get(f"/search?id={link.replace('&amp;', '&')}&limit=3").status_code == 200
    # A cutout of the map is that of the search.
    picture = mapped.get(f"/map/cutouts/{asked['id'][0]}")
    row = mapped.get(f"/objects/{asked['id'][0]}").json()
    assert picture.status_code == 307
    assert parse_qs(urlsplit(picture.headers["location"]).query)["ra"] == [f"{row['ra']:.7f}"]
    assert mapped.get(picture.headers["location"]).headers["content-type"] == "image/png"
    assert mapped.get("/map/cutouts/1").json()["code"] == ErrorCode.QUERY_UNKNOWN_OBJECT
