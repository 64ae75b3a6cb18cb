"""Map: a projection of all embeddings as an image of densities, points over it, and the objects inside a lasso."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field

from catalogs.errors import ErrorCode, ScannerError
from catalogs.maps import read as maps
from catalogs.store import rows as catalogue_rows
from catalogs.store.schema import EMBEDDING
from catalogs.store.voparquet import facts
from scanner.candidates.samp import broadcast
from scanner.web.pages import page, row_values, wants_html
from scanner.web.question import Question
from scanner.web.site import Site, site_of

if TYPE_CHECKING:
    from astropy.table import Table

router = APIRouter(tags=["map"])
SIDE = 900
"""Pixels of the image."""
LISTED = 60
"""Objects of a lasso whose cutouts are listed."""
EXAMPLES = 12
"""Objects of a lasso that a search for others like them takes as examples: each costs it time."""
MOST_POINTS = 200_000
"""Points that a browser draws over the image."""
MOST_IDS = 100_000
"""Ids of a lasso in one answer."""
MOST_SENT = 20_000
"""Objects of a lasso that are sent to other programs."""
STOPS = ((43, 20, 92), (104, 32, 122), (184, 55, 102), (243, 118, 61), (255, 205, 105), (255, 250, 214))
"""Colours from the lowest to the highest value; lighter is more, so that they are told apart in grey."""
NAMED = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#ffffff", "#6f8fff")
"""Colours of the most frequent texts of a column; all others are grey."""
OTHERS = "others"
Box = tuple[float, float, float, float]


class MapView(BaseModel):
    """The state of the map, which is its address."""

    name: str = Field(default="", max_length=100, description="Name of the map; by default the first one.")
    colour: str = Field(default="", max_length=100, description="Column that colours the map; by default density.")
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
    """The objects on a map, in an order of chance, so that the first of them are a fair sample.

    ids [N], places [N, 2] and the values of a column [N], NaN where unknown. Values of a column of text are numbers of
    ``names``, the most frequent first.
    """

    object_id: NDArray[np.int64]
    place: NDArray[np.float32]
    value: NDArray[np.float32] | None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.object_id)

    def __getitem__(self, index: Any) -> Points:
        value = None if self.value is None else self.value[index]
        return Points(self.object_id[index], self.place[index], value, self.names)


@router.get("/map", response_model=None)
def show_map(request: Request, view: Annotated[MapView, Query()]) -> Response:
    """Show the map; with a ``lasso``, list the objects inside, resolved over all that are on the map.

    ``object_ids`` are at most 100,000, drawn at random where ``count`` is larger.
    """
    site = site_of(request)
    names = maps.list_maps(site.need_catalogue())
    view = view.model_copy(update={"name": view.name or (names[0] if names else "")})
    if not names:
        if wants_html(request):
            return page(request, "map.html", view=view, names=[])
        raise ScannerError(ErrorCode.MAP_MISSING, "The catalogue has no map yet.", "Make one with: scanner map")
    points = read_points(site, view)
    chosen = select(points, view)
    count = len(chosen) if view.lasso else len(points)
    data = {
        "box": frame(points, view),
        "whole": frame(points, view.model_copy(update={"box": ""})),
        "lasso": view.numbers("lasso"),
        "count": count,
        "objects": len(points),
        "scale": _scale(site, points, view.colour),
    }
    if not wants_html(request):
        ids = [str(one) for one in chosen.object_id[:MOST_IDS].tolist()] if view.lasso else []
        return JSONResponse({**data, "object_ids": ids})
    listed = catalogue_rows.of_ids(site.snapshot(), chosen.object_id[:LISTED].tolist() if view.lasso else [])
    known = site.known_as(listed["ra"], listed["dec"]) if len(listed) else []
    return page(
        request,
        "map.html",
        view=view,
        names=names,
        data={**data, "stops": STOPS, "named": NAMED, "has_images": site.cutouts is not None},
        count=count,
        columns=[field.name for field in site.need_catalogue().schema if field.name != EMBEDDING],
        like_these=Question(id=listed["object_id"][:EXAMPLES].tolist()).address() if len(listed) else "",
        examples=min(EXAMPLES, len(listed)),
        # The cards of the lasso are those of a search.
        rows=list(zip(row_values(listed), known, strict=True)),
        question=Question(),
        has_similarity=False,
        following=None,
    )


@router.post("/map/broadcast")
def broadcast_selection(request: Request, view: MapView) -> dict[str, Any]:
    """Send the objects of the map inside a lasso by SAMP to the programs on the machine of the server.

    Of more than 20,000 some are drawn at random.
    """
    site = site_of(request)
    chosen = select(read_points(site, view), view).object_id[:MOST_SENT]
    rows = catalogue_rows.of_ids(site.snapshot(), chosen.tolist())
    return {"rows": len(rows), "receivers": [asdict(one) for one in broadcast(rows, f"Map {view.name}")]}


@router.get("/map/picture", response_class=Response, responses={200: {"content": {"image/png": {}}}})
def map_picture(request: Request, view: Annotated[MapView, Query()]) -> Response:
    """Draw the map as PNG: the density of the objects, or the mean of a column where they are."""
    points = read_points(site_of(request), view)
    return Response(draw(points, frame(points, view)), media_type="image/png", headers={"Cache-Control": "no-cache"})


@router.get("/map/points", response_class=Response, responses={200: {"content": {"application/octet-stream": {}}}})
def map_points(request: Request, view: Annotated[MapView, Query()]) -> Response:
    """Give the objects of a part of the map: all, or 200,000 at random where there are more.

    The body is little-endian: int64 ids [N], then float32 x [N], y [N] and, with ``colour``, values [N]. The header
    ``Scanner-Points`` is N, ``Scanner-Objects`` the number of objects there.
    """
    points = read_points(site_of(request), view)
    if view.box:
        x0, y0, x1, y1 = frame(points, view)
        # In float64, into which any box fits.
        x, y = points.place.T.astype(float)
        points = points[(x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)]
    sent = points[:MOST_POINTS]
    body = sent.object_id.astype("<i8").tobytes() + sent.place.T.astype("<f4").tobytes()
    if sent.value is not None:
        body += sent.value.astype("<f4").tobytes()
    headers = {
        "Scanner-Points": str(len(sent)),
        "Scanner-Objects": str(len(points)),
        "Cache-Control": "no-cache",
    }
    return Response(body, media_type="application/octet-stream", headers=headers)


@router.get("/map/cutouts/{object_id}", response_class=RedirectResponse)
def map_cutout(request: Request, object_id: Annotated[int, Path(ge=0, lt=2**63)]) -> Response:
    """Lead to the picture of an object, of which a map knows no more than the id."""
    found = catalogue_rows.of_ids(site_of(request).snapshot(), [object_id], ["object_id", "tile", "ra", "dec"])
    if not len(found):
        message = f"The catalogue has no object {object_id}."
        raise ScannerError(ErrorCode.QUERY_UNKNOWN_OBJECT, message, "Load the map again.")
    row = found[0]
    place = urlencode({"ra": f"{row['ra']:.7f}", "dec": f"{row['dec']:.7f}", "tile": row["tile"]})
    return RedirectResponse(f"/cutouts/picture?{place}", headers={"Cache-Control": "no-store"})


def read_points(site: Site, view: MapView) -> Points:
    """Read the objects on a map that pass the filter; kept for the next view.

    Raises:
        ScannerError: ``map.missing``, ``map.damaged``, ``column.*``, ``where.*``.
    """
    catalogue = site.need_catalogue()
    if view.name not in maps.list_maps(catalogue):
        raise ScannerError(ErrorCode.MAP_MISSING, f"The catalogue has no map {view.name!r}.", "Choose one of the list.")

    def read() -> Points:
        table: Table = maps.read_map(catalogue, view.name, [view.colour] if view.colour else [], view.where or None)
        place = np.stack([np.asarray(table[axis], np.float32) for axis in maps.axes(view.name)], axis=1)
        points = Points(np.asarray(table["object_id"]), place, None)
        if view.colour:
            points = Points(points.object_id, place, *_values(np.asarray(table[view.colour]), view.colour))
        # Tiles follow each other in the table: its first objects are no sample of it.
        return points[np.random.default_rng(0).permutation(len(points))]

    made: Points = site.maps.get((view.name, view.colour, view.where, hash(site.snapshot().footers)), read)
    return made


def _values(column: NDArray[Any], name: str) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Make numbers [N] of a column, and the texts that they stand for if it holds texts."""
    if column.ndim > 1:
        message = f"The column {name} holds no single value for each object."
        raise ScannerError(ErrorCode.COLUMN_NOT_NUMBERS, message, "Colour by another column.")
    if column.dtype.kind in "biuf":
        return column.astype(np.float32), ()
    texts, number, counts = np.unique(column.astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(texts), np.int64)
    rank[order] = np.arange(len(texts))
    kept = tuple(str(one) or "(empty)" for one in texts[order[: len(NAMED)]])
    names = (*kept, OTHERS) if len(texts) > len(NAMED) else kept
    return np.minimum(rank[number], len(NAMED)).astype(np.float32), names


def _limits(points: Points) -> tuple[float, float]:
    """The values of the lowest and the highest colour: percentiles, which a few odd values do not move."""
    finite = points.value[np.isfinite(points.value)] if points.value is not None else np.zeros(0)
    low, high = np.percentile(finite, [2, 98]) if len(finite) else (0.0, 1.0)
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _scale(site: Site, points: Points, column: str) -> dict[str, Any] | None:
    """Describe what the colours mean."""
    if points.value is None:
        return None
    low, high = _limits(points)
    field = site.need_catalogue().schema.field(column)
    return {"column": column, "unit": facts(field).get("unit", ""), "low": low, "high": high, "names": points.names}


def frame(points: Points, view: MapView) -> Box:
    """The part of the map that is shown: x0, y0, x1, y1."""
    if box := view.numbers("box"):
        x0, x1, y0, y1 = min(box[0], box[2]), max(box[0], box[2]), min(box[1], box[3]), max(box[1], box[3])
        if x1 > x0 and y1 > y0:
            return x0, y0, x1, y1
    if not len(points):
        return 0.0, 0.0, 1.0, 1.0
    low, high = points.place.min(axis=0).astype(float), points.place.max(axis=0).astype(float)
    # Square, with a margin, so that distances are alike in both directions.
    middle, half = (low + high) / 2, max(float((high - low).max()) * 0.53, 1e-6)
    return float(middle[0] - half), float(middle[1] - half), float(middle[0] + half), float(middle[1] + half)


def select(points: Points, view: MapView) -> Points:
    """The objects inside the lasso; all where there is none."""
    corners = np.array(view.numbers("lasso")).reshape(-1, 2)
    return points[inside(points.place, corners)] if len(corners) else points


def inside(places: NDArray[np.floating[Any]], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which places [N, 2] lie in a polygon of corners [C, 2], by the crossings of a ray (the even-odd rule)."""
    answer = np.zeros(len(places), bool)
    # Most of a map lies outside the rectangle around a lasso, and costs no more than this.
    near = np.flatnonzero(((places >= corners.min(axis=0)) & (places <= corners.max(axis=0))).all(axis=1))
    x, y = places[near].astype(float).T
    within = np.zeros(len(near), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        if crosses.any():
            within ^= crosses & (x < (x1 - x0) * (y - y0) / np.where(crosses, y1 - y0, 1) + x0)
    answer[near] = within
    return answer


def draw(points: Points, box: Box, side: int = SIDE) -> bytes:
    """Draw densities, or the mean of the values, in a box, as PNG that is transparent where no object is."""
    from scipy.ndimage import gaussian_filter

    x0, y0, x1, y1 = box
    value = None if points.names else points.value
    limits = _limits(points)
    # In float64, since a small box lies far from 0 in units of itself.
    x, y = points.place.astype(float).T
    here = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    if value is not None:
        here &= np.isfinite(value)
    across = np.minimum((x[here] - x0) / (x1 - x0) * side, side - 1).astype(np.int64)
    up = np.minimum((y[here] - y0) / (y1 - y0) * side, side - 1).astype(np.int64)
    cells = (side - 1 - up) * side + across
    # The fewer objects, the further each one glows.
    spread = float(np.clip(0.5 * side / max(len(cells), 1) ** 0.5, 0.8, side / 100))

    def spread_out(weights: NDArray[Any] | None) -> NDArray[np.float64]:
        light = np.bincount(cells, weights, side * side).reshape(side, side)
        smooth: NDArray[np.float64] = gaussian_filter(light.astype(float), spread, mode="constant", truncate=3)
        return smooth

    counts = spread_out(None)
    density = np.log1p(counts / max(float(counts.max()) / 60, 1e-12)) / np.log1p(60)
    level = density
    if value is not None:
        mean = spread_out(value[here].astype(float)) / np.maximum(counts, 1e-12)
        level = np.clip((mean - limits[0]) / (limits[1] - limits[0]), 0, 1)
    place = level * (len(STOPS) - 1)
    lower = np.minimum(place.astype(int), len(STOPS) - 2)
    part = (place - lower)[..., None]
    stops = np.array(STOPS, float)
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[..., :3] = stops[lower] * (1 - part) + stops[lower + 1] * part
    pixels[..., 3] = 220 * np.clip(1.2 * density, 0, 1)
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG", compress_level=3)
        return file.getvalue()
