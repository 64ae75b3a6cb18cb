"""The UNIONS tile grid: tile ``xxx.yyy`` to sky and back.

Row yyy lies at dec_c = yyy/2 - 90; in it, tile xxx lies at RA_c = xxx/2/cos(dec_c), so that centres are half a degree
apart along the row. A position belongs to the row nearest in declination and, in that row, to the tile whose centre is
nearest in right ascension: every point of the sky has one such tile, and up to 82 degrees that tile's image holds it.
(The nearest centre on the sphere would be no good rule: rows are shifted against each other, and 2.7 % of the sky is
nearest to the centre of a tile whose image does not reach it.)
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.geometry import separation

PIXEL_SCALE = 0.18577
HALF_SIZE = np.radians(10_000 / 2 * PIXEL_SCALE / 3600)
"""Half a side of a tile's image in radians: neighbours overlap by 155 px on each side."""
MARGIN = 0.05
"""Share of a tile's half side by which an image may reach beyond the tile and still be an image of it."""
_DIAGONAL = float(np.degrees(np.sqrt(2) * HALF_SIZE))
"""Half the diagonal of a tile's image in degrees."""

_NAME = re.compile("([0-9]{1,3})[.]([0-9]{1,3})")
_POLE = 1e-9
_PAST_360 = 3
"""Rows do not close at RA 360: the survey has tiles up to two steps past it, which overlap those of xxx = 0, 1, 2."""


def split(name: str) -> tuple[int, int]:
    """Split a tile's name into xxx and yyy, 720 wrapped to 0.

    Raises:
        ScannerError: ``tile.off_grid`` where the grid has no such tile.
    """
    parts = _NAME.fullmatch(name)
    if parts:
        x, y = int(parts[1]) % 720, int(parts[2])
        if y <= 360 and x < _end(y):
            return x, y
    raise ScannerError(
        ErrorCode.TILE_OFF_GRID,
        f"There is no tile {name!r} on the UNIONS grid.",
        "A tile is xxx.yyy with yyy from 000 to 360 (declination yyy/2 - 90) and xxx below 720 * cos(declination).",
    )


def centre(name: str) -> tuple[float, float]:
    """Return RA and Dec of a tile's centre in degrees."""
    x, y = split(name)
    return float(_ra(np.float64(x), np.float64(y))), y / 2 - 90


def tile_at(ra: float, dec: float) -> str:
    """Return the name of the tile that a position (degrees) belongs to."""
    x, y = _cells(np.atleast_1d(_check_angle(ra, 1e6)), np.atleast_1d(_check_angle(dec, 90)))
    return _name(int(x[0]), int(y[0]))


def tiles_covering(ra: float, dec: float) -> list[str]:
    """List the tiles whose images hold a position (degrees): the one it belongs to, then the others, nearest first."""
    own = tile_at(ra, dec)
    nearby = {own, *_around(split(own)[1], ra, reach=1)}
    covering = [name for name in nearby if name == own or bool(contains(name, ra, dec))]
    return sorted(covering, key=lambda name: (name != own, float(distance(name, ra, dec)), name))


def neighbours(name: str) -> list[str]:
    """List the other tiles whose images may overlap that of a tile, sorted; some only touch it."""
    ra, dec = centre(name)
    close = [other for other in _around(split(name)[1], ra, reach=3) if other != name]
    # Images whose centres are a whole diagonal apart cannot overlap.
    apart = separation(ra, dec, *np.transpose([centre(other) for other in close]))
    return sorted(other for other, angle in zip(close, apart, strict=True) if angle < 2 * _DIAGONAL)


def distance(name: str, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    """Compute the distance of positions (degrees, [N]) from a tile's centre, in its tangent plane (radians)."""
    xi, eta, _ = _tangent(name, np.asarray(ra, float), np.asarray(dec, float))
    return np.hypot(xi, eta)


def contains(name: str, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
    """Tell whether a tile's image, 10000 px a side, holds positions (degrees): bool [N]."""
    xi, eta, front = _tangent(name, np.asarray(ra, float), np.asarray(dec, float))
    return np.asarray(front & (np.abs(xi) <= HALF_SIZE) & (np.abs(eta) <= HALF_SIZE))


def is_image_of(name: str, ra: ArrayLike, dec: ArrayLike) -> bool:
    """Tell whether an image with these corners (degrees, [N]) lies on a tile, as the whole of it or as a part."""
    xi, eta, front = _tangent(name, np.asarray(ra, float), np.asarray(dec, float))
    return bool(np.all(front & (np.maximum(np.abs(xi), np.abs(eta)) <= (1 + MARGIN) * HALF_SIZE)))


def tile_centred_at(ra: float, dec: float) -> str | None:
    """Return the name of the tile whose centre, within ``MARGIN``, is a position (degrees); None if there is none."""
    name = tile_at(ra, dec)
    return name if distance(name, ra, dec) <= MARGIN * HALF_SIZE else None


def is_primary(name: str, ra: ArrayLike, dec: ArrayLike, grid: str | None = "unions") -> NDArray[np.bool_]:
    """Tell whether positions (degrees, [N]) belong to this tile rather than to an overlapping one: bool [N].

    With ``grid`` None (a survey whose tiles follow no known grid) all do.
    """
    right, up = np.broadcast_arrays(np.asarray(ra, float), np.asarray(dec, float))
    if grid is None:
        return np.ones(right.shape, bool)
    own_x, own_y = split(name)
    x, y = _cells(right, up)
    return np.asarray((x == own_x) & (y == own_y))


def _cells(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return xxx and yyy of the tile each position belongs to; -1, -1 for NaN."""
    good = np.isfinite(ra) & np.isfinite(dec)
    ra, dec = np.where(good, ra, 0.0) % 360, np.where(good, dec, 0.0)
    y = np.clip(np.rint(2 * (dec + 90)), 0, 360)
    # Degrees of RA between the tiles of a row. The bound avoids a division by zero at the poles.
    step = 0.5 / np.maximum(np.cos(np.radians(y / 2 - 90)), _POLE)
    # Rounding must not give one more tile to a row that a whole number of steps fills.
    last = np.ceil(360 / step - 1e-6) - 1
    x = np.clip(np.rint(ra / step), 0, np.maximum(last, 0))
    # Beyond the last tile the first one, on the other side of RA 0, may be nearer.
    x = np.where(360 - ra < np.abs(ra - x * step), 0, x)
    return np.where(good, x, -1).astype(np.int64), np.where(good, y, -1).astype(np.int64)


def _steps_around(y: int) -> float:
    """Return the length of row yyy in half-degree steps: 720 cos(dec_c)."""
    return 720 * max(float(np.cos(np.radians(y / 2 - 90))), _POLE)


def _end(y: int) -> float:
    """Return the first xxx that row yyy has no tile for."""
    return _steps_around(y) + _PAST_360 if 0 < y < 360 else 1.0


def _ra(x: np.float64, y: np.float64) -> np.float64:
    return np.float64(x / _steps_around(int(y)) * 360 % 360)


def _name(x: int, y: int) -> str:
    return f"{x:03d}.{y:03d}"


def _around(row: int, ra: float, reach: int) -> set[str]:
    """List tiles of a row and its neighbours, up to ``reach`` steps from a right ascension, and those near RA 0."""
    names = set()
    for y in {max(row - 1, 0), row, min(row + 1, 360)}:
        around = _steps_around(y)
        near = round(ra % 360 / 360 * around)
        about_zero = (*range(reach), *range(int(around) - reach, int(around) + _PAST_360))
        steps = (*range(near - reach, near + reach + 1), *about_zero)
        names |= {_name(x % 720, y) for x in steps if 0 <= x < _end(y)}
    return names


def _tangent(
    name: str, ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Project gnomonically about a tile's centre: xi, eta in radians, and whether the position is on this side."""
    ra_c, dec_c = np.radians(centre(name))
    right, up = np.radians(ra) - ra_c, np.radians(dec)
    cosine = np.sin(dec_c) * np.sin(up) + np.cos(dec_c) * np.cos(up) * np.cos(right)
    front = cosine > 0
    # Positions on the far side have no projection; their cosine is replaced to avoid a division by zero.
    cosine = np.where(front, cosine, 1.0)
    xi = np.cos(up) * np.sin(right) / cosine
    eta = (np.cos(dec_c) * np.sin(up) - np.sin(dec_c) * np.cos(up) * np.cos(right)) / cosine
    return xi, eta, front


def _check_angle(angle: float, limit: float) -> float:
    if not abs(angle) <= limit:
        message = f"{angle} is not an angle on the sky."
        raise ScannerError(ErrorCode.POSITION_OFF_SKY, message, "RA and Dec are in degrees.")
    return float(angle)
