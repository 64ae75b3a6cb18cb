"""Sky: where a catalogue has objects and how many, which tiles failed and why, as a figure to move in."""

from __future__ import annotations

import json
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from catalogs.errors import ErrorCode, ScannerError
from catalogs.search.ordering import ordered
from catalogs.sky import geometry, unions_grid
from catalogs.store.footers import Footer
from catalogs.store.provenance import Failure
from catalogs.store.tile_store import need_folder
from scanner.web.maps import STOPS
from scanner.web.pages import page, row_values, wants_html
from scanner.web.question import Question
from scanner.web.site import Site, site_of

router = APIRouter(tags=["sky"])
LISTED = 100
"""Failures that a page lists; JSON has all of them."""
BRIGHTEST = 24
"""Objects of a tile whose cutouts are listed."""
BINS = 24
_CELL = np.radians(0.25)
"""Half a side of a tile's own cell in radians: the part of its image that no neighbour owns."""
_ANGLES = np.linspace(0, 2 * np.pi, 96, endpoint=False) + np.pi / 4
"""Directions from the middle of a tile, among them those of its corners."""
_WHOLE = 0.9
"""Objects that reach this share of half the diagonal of a tile fill it."""
_URL_LETTERS = frozenset(string.ascii_letters + string.digits + "-._~:/?#[]&+=%")


class SkyView(BaseModel):
    """The state of the page, which is its address."""

    tile: str = Field(default="", max_length=100, description="Tile to describe.")
    code: str = Field(default="", max_length=100, description="Error code of the failures to list.")
    at: str = Field(default="", max_length=100, description="Middle of the figure: RA,DEC in degrees.")
    field: float = Field(
        default=0, ge=0, le=360, allow_inf_nan=False, description="Width of the figure in degrees; 0: all tiles."
    )

    def middle(self) -> tuple[float, float] | None:
        """Read ``at``.

        Raises:
            ScannerError: ``sky.out_of_range``.
        """
        if not self.at:
            return None
        try:
            ra, dec = (float(part) for part in self.at.split(","))
            inside = np.isfinite(ra) and -90 <= dec <= 90
        except ValueError:
            inside = False
        if not inside:
            hint = "Write RA,DEC in degrees, such as 217.3,56.1."
            raise ScannerError(ErrorCode.SKY_OUT_OF_RANGE, f"{self.at!r} is not a position.", hint)
        return ra % 360, dec


@dataclass(frozen=True)
class Tile:
    """A tile on the sky: its middle and the outline of its objects in degrees, None where its place is not known."""

    tile: str
    objects: int
    ra: float | None
    dec: float | None
    outline: list[list[float]]


@dataclass(frozen=True)
class Coverage:
    """The tiles with a file; ``area`` in square degrees is None where tiles follow no grid, as they may overlap."""

    tiles: tuple[Tile, ...]
    area: float | None


@router.get("/sky", response_model=None)
def show_sky(request: Request, view: Annotated[SkyView, Query()]) -> Response:
    """Show which part of the sky the catalogue covers, the objects of each tile, and the tiles that failed.

    With ``tile``, describe that tile. Outlines are corners in degrees, around where the tile's objects lie.
    """
    site = site_of(request)
    catalogue, snapshot = need_folder(site.need_catalogue()), site.snapshot()
    coverage = _covered(site)
    failures = catalogue.failures()
    placed = [_place_failure(one, catalogue.info.grid) for one in failures]
    at, width = _frame([*coverage.tiles, *placed])
    footer = next((one for one in snapshot.footers if one.tile == view.tile), None)
    failure = next((one for one in failures if one.tile == view.tile), None)
    if view.tile and footer is None and failure is None:
        message = f"The catalogue has no tile {view.tile!r}, nor a record that it failed."
        raise ScannerError(ErrorCode.TILE_MISSING_FILE, message, "Choose one of /sky.")
    data: dict[str, Any] = {
        "at": view.middle() or at,
        "field": view.field or width,
        "whole": {"at": at, "field": width},
        "objects": sum(one.objects for one in coverage.tiles),
        "area": coverage.area,
        "tiles": [asdict(one) for one in coverage.tiles],
        "failures": [
            {**asdict(failure), **_position(tile)}
            for failure, tile in zip(failures, placed, strict=True)
            if view.code in ("", failure.code)
        ],
        "damaged": [{"code": one.code, "message": one.message, "hint": one.hint} for one in snapshot.errors],
        "chosen": _describe(coverage, placed, footer, failure),
    }
    if not wants_html(request):
        return JSONResponse(data)
    listed: Any = ordered(snapshot.only([footer]), "snr", BRIGHTEST, descending=True) if footer and footer.rows else []
    known = site.known_as(listed["ra"], listed["dec"]) if len(listed) else []
    counts = np.array([one.objects for one in coverage.tiles])
    return page(
        request,
        "sky.html",
        view=view,
        # Outlines are a file of their own, so that one who chooses a tile does not get them again.
        data={name: data[name] for name in ("at", "field", "whole", "chosen")} | {"stops": STOPS},
        sky=data,
        median=int(np.median(counts)) if len(counts) else 0,
        bars=_bars(counts),
        codes=Counter(one.code for one in failures).most_common(),
        most=LISTED,
        own=Question(where=f"tile == {json.dumps(view.tile)}", sort="mag_auto").address(),
        aladin=site.aladin,
        rows=list(zip(row_values(listed) if len(listed) else [], known, strict=True)),
        question=Question(),
        has_similarity=False,
        following=None,
    )


@router.get("/sky/aladin", response_model=None)
def show_aladin(request: Request, view: Annotated[SkyView, Query()]) -> Response:
    """Show the tiles over a survey of the whole sky, in the Aladin Lite that the server was started with."""
    site = site_of(request)
    aladin = read_aladin(site.aladin)
    coverage = _covered(site)
    at, width = _frame(coverage.tiles)
    data = {
        "at": view.middle() or at,
        "field": view.field or width,
        "outlines": [one.outline for one in coverage.tiles if one.outline],
    }
    answer = page(request, "aladin.html", data=data, script=aladin.address)
    # This page alone may run that program, and load the images that it shows.
    answer.headers["content-security-policy"] = aladin.policy
    return answer


@router.get("/sky/aladin/script", response_class=FileResponse)
def aladin_script(request: Request) -> Response:
    """Give the file of Aladin Lite that ``--aladin`` names; no other."""
    aladin = read_aladin(site_of(request).aladin)
    if aladin.file is None or not aladin.file.is_file():
        raise ScannerError(ErrorCode.WEB_BAD_ALADIN, "The server has no file of Aladin Lite.", "Check --aladin.")
    return FileResponse(aladin.file, media_type="text/javascript", headers={"Cache-Control": "no-cache"})


@dataclass(frozen=True)
class Aladin:
    """An Aladin Lite: the address of its script in a page, its ``origin`` if that is elsewhere, or its ``file``."""

    address: str
    origin: str = ""
    file: Path | None = None

    @property
    def policy(self) -> str:
        """The Content-Security-Policy of its page: it compiles WebAssembly, and loads images from other places."""
        return (
            f"default-src 'self'; script-src 'self' {self.origin} 'wasm-unsafe-eval'; "
            "worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data: blob: https:; connect-src 'self' data: blob: https:; font-src 'self' data:; "
            "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
        )


def read_aladin(text: str | None) -> Aladin:
    """Read what ``--aladin`` names: a file, or an address that starts with https:// or http://.

    Raises:
        ScannerError: ``web.bad_aladin``.
    """
    hint = "Give the path of aladin.js, or an address that begins with https://."
    if not text:
        raise ScannerError(ErrorCode.WEB_BAD_ALADIN, "The server was started without Aladin Lite.", "Give --aladin.")
    if text.startswith(("https://", "http://")):
        # The address becomes part of a header, where a space, a comma or a semicolon would begin another rule.
        if not set(text) <= _URL_LETTERS or not urlsplit(text).hostname:
            raise ScannerError(ErrorCode.WEB_BAD_ALADIN, f"{text!r} is not an address.", hint)
        parts = urlsplit(text)
        return Aladin(text, f"{parts.scheme}://{parts.netloc}")
    if not Path(text).is_file():
        raise ScannerError(ErrorCode.WEB_BAD_ALADIN, f"There is no file {text}.", hint)
    return Aladin("/sky/aladin/script", file=Path(text).resolve())


def _covered(site: Site) -> Coverage:
    footers, grid = site.snapshot().footers, site.need_catalogue().info.grid
    kept: Coverage = site.maps.get(("sky", hash(footers)), lambda: cover(footers, grid))
    return kept


def cover(footers: Sequence[Footer], grid: str | None) -> Coverage:
    """Find the outline of each tile's objects: its image where they fill it, else the part that they lie in."""
    tiles: list[Tile] = []
    area = 0.0
    for footer in footers:
        circle, centre = footer.circle, _centre(footer.tile, grid)
        if circle is None or centre is None:
            # Off a grid, all that is known of a tile is the circle around its objects.
            middle = centre or ((circle.ra, circle.dec) if circle else None)
            reach = np.full(len(_ANGLES), np.tan(np.radians(min(circle.radius, 80.0)))) if circle else None
            outline = [] if reach is None or middle is None else _outline(middle, np.zeros(2), reach)
            ra, dec = middle or (None, None)
            tiles.append(Tile(footer.tile, footer.rows, ra, dec, outline))
            continue
        # In the plane that touches the sky at the tile's centre, in radians.
        offset, radius = _tangent(*centre, circle.ra, circle.dec), float(np.radians(circle.radius))
        if np.hypot(*offset) + radius >= _WHOLE * np.sqrt(2) * unions_grid.HALF_SIZE:
            outline, cell = _square(centre), (2 * _CELL) ** 2
        else:
            outline = _outline(centre, offset, _reach(offset, radius, unions_grid.HALF_SIZE))
            # The area of a star-shaped figure is half the integral of its squared reach.
            cell = float((_reach(offset, radius, _CELL) ** 2).mean() * np.pi)
        tiles.append(Tile(footer.tile, footer.rows, *centre, outline))
        area += cell
    return Coverage(tuple(tiles), None if grid is None else float(np.degrees(np.degrees(area))))


def _square(centre: tuple[float, float]) -> list[list[float]]:
    """The corners of a tile's image."""
    half = unions_grid.HALF_SIZE
    corners = np.full(len(_ANGLES), np.sqrt(2) * half)
    return _outline(centre, np.zeros(2), corners, slice(None, None, len(_ANGLES) // 4))


def _reach(offset: NDArray[np.float64], radius: float, half: float) -> NDArray[np.float64]:
    """How far a circle about ``offset`` and the square of this half side reach together, in each of ``_ANGLES``."""
    across, up = np.cos(_ANGLES), np.sin(_ANGLES)
    right = (np.copysign(half, across) - offset[0]) / across
    top = (np.copysign(half, up) - offset[1]) / up
    reach: NDArray[np.float64] = np.clip(np.minimum(np.minimum(right, top), radius), 0, None)
    return reach


def _outline(
    centre: tuple[float, float],
    offset: NDArray[np.float64],
    reach: NDArray[np.float64],
    which: slice = slice(None, None, 4),
) -> list[list[float]]:
    """Bring a closed line back from the plane that touches the sky at a position: corners [[ra, dec], ...]."""
    xi = (offset[0] + reach * np.cos(_ANGLES))[which]
    eta = (offset[1] + reach * np.sin(_ANGLES))[which]
    a, d = np.radians(centre)
    forward = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    east = np.array([-np.sin(a), np.cos(a), 0.0])
    x, y, z = forward[:, None] + xi * east[:, None] + eta * np.cross(forward, east)[:, None]
    lon, lat = np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))
    return [[round(float(one), 5), round(float(other), 5)] for one, other in zip(lon, lat, strict=True)]


def _tangent(ra0: float, dec0: float, ra: float, dec: float) -> NDArray[np.float64]:
    """Project a position near another one gnomonically: xi, eta in radians."""
    right, d0, d = np.radians(ra - ra0), np.radians(dec0), np.radians(dec)
    cosine = max(np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(right), 1e-6)
    eta = np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(right)
    return np.array([np.cos(d) * np.sin(right) / cosine, eta / cosine])


def _centre(tile: str, grid: str | None) -> tuple[float, float] | None:
    try:
        return unions_grid.centre(tile) if grid is not None else None
    except ScannerError:
        return None


def _place_failure(failure: Failure, grid: str | None) -> Tile:
    centre = _centre(failure.tile, grid)
    if centre is None:
        return Tile(failure.tile, 0, None, None, [])
    return Tile(failure.tile, 0, *centre, _square(centre))


def _position(tile: Tile) -> dict[str, Any]:
    return {"ra": tile.ra, "dec": tile.dec, "outline": tile.outline}


def _frame(tiles: Sequence[Tile]) -> tuple[tuple[float, float], float]:
    """The middle and the width, in degrees, of a figure that shows these tiles."""
    there = [(one.ra, one.dec) for one in tiles if one.ra is not None and one.dec is not None]
    circle = geometry.bounding_circle(*np.array(there, float).T) if there else None
    if circle is None or circle.radius > 60:
        return (round(circle.ra, 4) if circle else 180.0, 0.0), 360.0
    return (round(circle.ra, 4), round(circle.dec, 4)), round(3.2 * (circle.radius + 0.4), 3)


def _describe(
    coverage: Coverage, placed: Sequence[Tile], footer: Footer | None, failure: Failure | None
) -> dict[str, Any] | None:
    """Describe the tile that was chosen."""
    if footer is None and failure is None:
        return None
    name = footer.tile if footer else failure.tile if failure else ""
    tile = next(one for one in (*coverage.tiles, *placed) if one.tile == name)
    return {
        "tile": name,
        **_position(tile),
        "objects": footer.rows if footer else None,
        "run": footer.digest if footer else None,
        "bytes": footer.size if footer else None,
        "failure": asdict(failure) if failure else None,
    }


def _bars(counts: NDArray[np.int64]) -> list[dict[str, float]]:
    """The number of tiles by their number of objects: bars between 0 and 1, and the ends of each."""
    if len(counts) < 2:
        return []
    tall, ends = np.histogram(counts, min(BINS, len(counts)))
    highest = max(int(tall.max()), 1)
    return [
        {"tiles": int(one), "height": float(one) / highest, "low": float(low), "high": float(high)}
        for one, low, high in zip(tall, ends, ends[1:], strict=False)
    ]
