"""Map: a projection of all embeddings as an image of densities, and the objects inside a lasso."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field

from catalogs.errors import ErrorCode, ScannerError
from catalogs.maps import read as maps
from catalogs.store import rows as catalogue_rows
from scanner.web.pages import page, plain, wants_html
from scanner.web.question import Question
from scanner.web.site import Site, site_of

if TYPE_CHECKING:
    from astropy.table import Table

router = APIRouter(tags=["map"])
SIDE = 900
"""Pixels of the image."""
LISTED = 60
NEAR = 48
"""Objects of a view up to which their cutouts are shown in it."""
_STOPS = np.array(
    [[43, 20, 92], [104, 32, 122], [184, 55, 102], [243, 118, 61], [255, 205, 105], [255, 250, 214]], float
)
_Corner = Annotated[list[float], Field(min_length=2, max_length=2)]


class MapView(BaseModel):
    """The state of the map, which is its address."""

    name: str = Field(default="", max_length=100, description="Name of the map; by default the first one.")
    colour: str = Field(
        default="", max_length=100, description="Column whose mean colours the map; by default density."
    )
    where: str = Field(default="", max_length=4000, description="Filter of the objects.")
    box: str = Field(default="", max_length=200, description="Part to show: x0,y0,x1,y1.")
    lasso: str = Field(default="", max_length=20_000, description="Corners of a polygon: x,y,x,y,...")

    def numbers(self, name: str) -> list[float]:
        """Read ``box`` or ``lasso``.

        Raises:
            ScannerError: ``map.bad_region``.
        """
        text = getattr(self, name)
        try:
            values = [float(one) for one in text.split(",")] if text else []
            fits = np.isfinite(values).all() and (len(values) in (0, 4) if name == "box" else len(values) % 2 == 0)
        except ValueError:
            fits = False
        if not fits or (name == "lasso" and 0 < len(values) < 6):
            message = f"{text[:80]!r} is not a {name} of the map."
            raise ScannerError(
                ErrorCode.MAP_BAD_REGION, message, "Give numbers: x0,y0,x1,y1, or three corners or more."
            )
        return values


@dataclass(frozen=True)
class Points:
    """The objects on a map: ids [N], places [N, 2] and the values of a column [N]."""

    object_id: NDArray[np.int64]
    place: NDArray[np.float64]
    value: NDArray[np.float64] | None

    def __getitem__(self, index: Any) -> Points:
        value = None if self.value is None else self.value[index]
        return Points(self.object_id[index], self.place[index], value)


@router.get("/map", response_model=None)
def show_map(request: Request, view: Annotated[MapView, Query()]) -> Response:
    """Show the map; with a ``lasso``, list the objects inside, resolved over all that are on the map."""
    site = site_of(request)
    names = maps.list_maps(site.need_catalogue())
    view = view.model_copy(update={"name": view.name or (names[0] if names else "")})
    if not names:
        if wants_html(request):
            return page(request, "map.html", view=view, names=[])
        raise ScannerError(ErrorCode.MAP_MISSING, "The catalogue has no map yet.", "Make one with: scanner map")
    points = read_points(site, view)
    chosen = select(points, view)
    x0, y0, x1, y1 = frame(points, view)
    shown: list[int] = []
    if view.lasso:
        shown = np.random.default_rng(0).permutation(chosen.object_id)[:LISTED].tolist()
    listed = catalogue_rows.of_ids(site.snapshot(), shown)
    data = {
        "box": [x0, y0, x1, y1],
        "whole": list(frame(points, view.model_copy(update={"box": ""}))),
        "lasso": view.numbers("lasso"),
        "count": len(chosen.object_id) if view.lasso else len(points.object_id),
        "near": _near(site, points, (x0, y0, x1, y1)),
    }
    known = site.known_as(listed["ra"], listed["dec"]) if len(listed) else []
    if not wants_html(request):
        ids = [str(one) for one in chosen.object_id[:100_000].tolist()] if view.lasso else []
        return JSONResponse({**data, "object_ids": ids})
    schema = site.need_catalogue().schema
    numeric = [one.name for one in schema if str(one.type) in ("float", "double", "int32", "bool")]
    cards = list(zip(listed, known, strict=True))
    extra: dict[str, Any] = {"question": Question(), "has_similarity": False, "following": None}
    return page(
        request, "map.html", view=view, names=names, data=data, rows=cards, count=data["count"], fields=numeric, **extra
    )


@router.get("/map/picture", response_class=Response, responses={200: {"content": {"image/png": {}}}})
def map_picture(request: Request, view: Annotated[MapView, Query()]) -> Response:
    """Draw the map as PNG: the density of the objects, or the mean of a column where they are."""
    site = site_of(request)
    points = read_points(site, view)
    return Response(draw(points, frame(points, view)), media_type="image/png", headers={"Cache-Control": "no-cache"})


def read_points(site: Site, view: MapView) -> Points:
    """Read the objects on a map that pass the filter; kept for the next view.

    Raises:
        ScannerError: ``map.missing``, ``map.damaged``, ``column.*``, ``where.*``.
    """
    catalogue = site.need_catalogue()
    if view.name not in maps.list_maps(catalogue):
        raise ScannerError(ErrorCode.MAP_MISSING, f"The catalogue has no map {view.name!r}.", "Choose one of the list.")
    columns = [view.colour] if view.colour else []

    def read() -> Points:
        table: Table = maps.read_map(catalogue, view.name, columns, view.where or None)
        place = np.stack([np.asarray(table[axis], float) for axis in maps.axes(view.name)], axis=1)
        value = None
        if view.colour:
            if table[view.colour].dtype.kind not in "biuf":
                message = f"The column {view.colour} holds no numbers."
                raise ScannerError(ErrorCode.COLUMN_NOT_NUMBERS, message, "Colour by a column of numbers.")
            value = np.asarray(table[view.colour], float)
        return Points(np.asarray(table["object_id"]), place, value)

    made: Points = site.maps.get((view.name, view.colour, view.where, hash(site.snapshot().footers)), read)
    return made


def frame(points: Points, view: MapView) -> tuple[float, float, float, float]:
    """The part of the map that is shown: x0, y0, x1, y1."""
    if box := view.numbers("box"):
        x0, x1, y0, y1 = min(box[0], box[2]), max(box[0], box[2]), min(box[1], box[3]), max(box[1], box[3])
        if x1 > x0 and y1 > y0:
            return x0, y0, x1, y1
    if not len(points.place):
        return 0.0, 0.0, 1.0, 1.0
    low, high = points.place.min(axis=0), points.place.max(axis=0)
    # Square, with a margin, so that distances are alike in both directions.
    middle, half = (low + high) / 2, max(float((high - low).max()) * 0.53, 1e-6)
    return float(middle[0] - half), float(middle[1] - half), float(middle[0] + half), float(middle[1] + half)


def select(points: Points, view: MapView) -> Points:
    """The objects inside the lasso; all where there is none."""
    corners = np.array(view.numbers("lasso")).reshape(-1, 2)
    return points[inside(points.place, corners)] if len(corners) else points


def inside(places: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which places [N, 2] lie in a polygon of corners [C, 2], by the crossings of a ray (the even-odd rule)."""
    answer = np.zeros(len(places), bool)
    x, y = places[:, 0], places[:, 1]
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        if crosses.any():
            answer ^= crosses & (x < (x1 - x0) * (y - y0) / np.where(crosses, y1 - y0, 1) + x0)
    return answer


def draw(points: Points, box: tuple[float, float, float, float], side: int = SIDE) -> bytes:
    """Draw densities, or the mean of the values, in a box, as PNG that is transparent where no object is."""
    x0, y0, x1, y1 = box
    across = np.floor((points.place[:, 0] - x0) / (x1 - x0) * side)
    up = np.floor((points.place[:, 1] - y0) / (y1 - y0) * side)
    here = (across >= 0) & (across < side) & (up >= 0) & (up < side)
    if points.value is not None:
        here &= np.isfinite(points.value)
    # Few objects are drawn as discs that one can see, many as single pixels.
    few = int(here.sum()) < 20_000
    radius = 4 if int(here.sum()) < 2_000 else 2 if few else 0
    cells = (side - 1 - up[here]).astype(np.int64), across[here].astype(np.int64)
    weight = np.ones(int(here.sum())) if points.value is None else points.value[here]
    counts, sums = np.zeros((side, side)), np.zeros((side, side))
    for down in range(-radius, radius + 1):
        for right in range(-radius, radius + 1):
            if down * down + right * right <= radius * radius:
                at = np.clip(cells[0] + down, 0, side - 1), np.clip(cells[1] + right, 0, side - 1)
                np.add.at(counts, at, 1)
                np.add.at(sums, at, weight)
    there = counts > 0
    if points.value is None:
        level = np.log1p(counts) / max(float(np.log1p(counts.max(initial=1))), 1e-9)
        level = 0.25 + 0.75 * level
    else:
        mean = np.divide(sums, counts, where=there, out=np.zeros_like(sums))
        low, high = np.percentile(weight, [2, 98]) if len(weight) else (0.0, 1.0)
        level = np.clip((mean - low) / max(high - low, 1e-9), 0, 1)
    place = level * (len(_STOPS) - 1)
    lower = np.minimum(place.astype(int), len(_STOPS) - 2)
    part = (place - lower)[..., None]
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[..., :3] = _STOPS[lower] * (1 - part) + _STOPS[lower + 1] * part
    pixels[..., 3] = np.where(there, 235, 0)
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()


def _near(site: Site, points: Points, box: tuple[float, float, float, float]) -> list[dict[str, Any]]:
    """The objects of a view with few of them, to show their cutouts in their places."""
    x, y = points.place[:, 0], points.place[:, 1]
    here = np.flatnonzero((x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3]))
    if not 0 < len(here) <= NEAR or site.cutouts is None:
        return []
    found = catalogue_rows.of_ids(site.snapshot(), points.object_id[here].tolist(), ["object_id", "tile", "ra", "dec"])
    place = {int(one): points.place[number].tolist() for one, number in zip(points.object_id[here], here, strict=True)}
    return [
        {"object_id": str(row["object_id"]), "tile": str(row["tile"]), "ra": plain(row["ra"]), "dec": plain(row["dec"]),
         "place": place[int(row["object_id"])]}
        for row in found
    ]  # fmt: skip
