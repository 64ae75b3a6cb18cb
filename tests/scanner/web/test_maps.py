"""The map of the page: which objects a lasso holds, and where they are drawn."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from catalogs.errors import ErrorCode, ScannerError
from scanner.web.maps import MapView, Points, draw, frame, inside, select


def points(*places: tuple[float, float], value: list[float] | None = None) -> Points:
    ids = np.arange(len(places))
    return Points(ids, np.array(places, float), None if value is None else np.array(value, float))


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


def test_objects_are_drawn_where_they_are_and_coloured_by_their_values() -> None:
    some = points((0.25, 0.25), (0.75, 0.75), (9, 9), (0.5, 0.5), value=[1, 2, 3, np.nan])
    picture = np.asarray(Image.open(io.BytesIO(draw(some, (0, 0, 1, 1), side=100))))
    solid = picture[..., 3] > 0
    # Up on the map is up in the picture. What is outside, or has no value, is not drawn.
    assert solid[74, 25]
    assert solid[24, 75]
    assert not solid[49, 50]
    assert tuple(picture[74, 25]) != tuple(picture[24, 75])
    box = frame(some, MapView(box="1,1,0,0"))
    assert box == (0, 0, 1, 1)
