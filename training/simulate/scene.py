"""Scene: one tile in memory, with its conditions, lenses, look-alikes, galaxies and stars.

>>> scene = simulate_tile("217.292", seed=1, settings=Settings(size=512))
>>> scene.flux.shape  # nJy, NaN where there is no data
(5, 512, 512)
>>> scene.truth["label"], scene.wcs[2]  # a row an object; an astropy WCS a band
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from catalogs.sky.unions_grid import PIXEL_SCALE, centre
from scanner.images.sky.wcs import CelestialWCS, tangent_wcs
from scanner.survey.bands import BANDS
from scanner.survey.survey import ab_magnitude
from training.simulate.canvas import Canvas, fluxes
from training.simulate.conditions import BandConditions, Settings, draw_conditions
from training.simulate.exposure import CORRELATION, expose
from training.simulate.galaxy_images import draw_galaxy
from training.simulate.lens_images import draw_lens, source_flux
from training.simulate.lookalikes import draw_lookalike
from training.simulate.population import Galaxies, expected, galaxies, magnitudes, stars, template
from training.simulate.star_images import BRIGHT, draw_star

Image = NDArray[np.float32]
EDGE = 45  # px between lenses or look-alikes and the edge of the tile
LENS_HOSTS = 23.5  # i of the faintest galaxies that fractions of lenses refer to


@dataclass(frozen=True)
class Scene:
    """One tile: ``flux`` float32 [B, H, W] in nJy, NaN for no data and missing bands; a ``wcs`` for each band.

    ``truth`` has a row for each object: x, y (0-based pixels of r), ra, dec (deg), label (lens, lookalike, galaxy,
    star), kind, z, theta_e (arcsec), z_source, mag_u to mag_z (AB; a lens without its images), size (arcsec), ...
    source_mag_r, magnification and snr are those of an injection: of all light of the source, in correlated noise.
    """

    name: str
    seed: int
    flux: Image
    wcs: tuple[CelestialWCS, ...]
    truth: Table
    conditions: tuple[BandConditions, ...]
    bands: tuple[str, ...] = BANDS
    pixel_scale: float = PIXEL_SCALE


def tile_wcs(name: str, size: int, offset: float = 0.0) -> CelestialWCS:
    """Make the WCS of a tile of the UNIONS grid: TAN about its centre, north up, shifted by ``offset`` px along x."""
    wcs = tangent_wcs(centre(name), (size / 2 + offset, size / 2), PIXEL_SCALE)
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    wcs.array_shape = (size, size)
    wcs.wcs.set()
    return wcs


def simulate_tile(
    name: str, seed: int, settings: Settings | None = None, conditions: tuple[BandConditions, ...] | None = None
) -> Scene:
    """Render tile ``name`` of the UNIONS grid; the same name, seed and settings give the same bits in any process.

    ``conditions`` fixes the conditions (seeing, depth, present bands), which are drawn by default.
    """
    settings = settings or Settings()
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    # Drawn in any case, so that `conditions` does not change the state from which the next draws begin.
    random_conditions = draw_conditions(rng, settings)
    exposed = tuple(replace(one, correlation=CORRELATION) for one in conditions or random_conditions)
    canvas = Canvas(settings.size, exposed)
    rows: list[dict[str, object]] = []
    # All draws share one generator: another order of these steps gives another tile for the same seed.
    _special(rng, settings, canvas, rows)
    _field(rng, settings, canvas, rows)
    _stars(rng, settings, canvas, rows)
    pairs = zip(canvas.flux, canvas.conditions, strict=True)
    flux = np.stack([expose(rng, band, one, settings) for band, one in pairs])
    wcs = tuple(tile_wcs(name, settings.size, s.offset) for s in canvas.conditions)
    return Scene(name, seed, flux, wcs, _table(rows, wcs[BANDS.index("r")]), canvas.conditions)


def _area(settings: Settings) -> float:
    """Compute the area of a tile in square degrees."""
    return (settings.size * PIXEL_SCALE / 3600) ** 2


def _special(rng: np.random.Generator, settings: Settings, canvas: Canvas, rows: list[dict[str, object]]) -> None:
    """Draw lenses and look-alikes, spread over the tile without overlap."""
    hosts = expected(_area(settings), 16.0, LENS_HOSTS) * settings.density
    lenses = rng.poisson(settings.lens_fraction * hosts)
    others = rng.poisson(settings.lookalike_fraction * hosts)
    places = _apart(rng, settings.size, lenses + others)
    for x, y in places[:lenses]:
        rows.extend(_lens(rng, settings, canvas, x, y))
    for x, y in places[lenses:]:
        kind, mag, size, z = draw_lookalike(rng, canvas, x, y)
        rows.append(_row("lookalike", kind, x, y, mag, size=size, z=z))


def _lens(rng: np.random.Generator, settings: Settings, canvas: Canvas, x: float, y: float) -> list[dict[str, object]]:
    """Draw one lens, and for wide ones red neighbours of its group; returns their rows."""
    deflector, source, light = draw_lens(rng, settings, canvas, x, y)
    row = _row("lens", "galaxy" if source.quasar is None else "quasar", x, y, deflector.mag)
    row |= {"size": deflector.size, "n": 4.0, "q": deflector.q, "angle": deflector.angle, "z": deflector.z}
    row |= {
        "theta_e": deflector.theta_e,
        "z_source": source.z,
        "source_mag_r": float(ab_magnitude(source_flux(source)[2])),
    }
    row |= {"magnification": light.magnification, "snr": light.snr, "sigma": deflector.sigma}
    rows = [row]
    for _ in range(rng.poisson(1.6 * max(deflector.theta_e - 0.7, 0))):
        apart, angle = rng.uniform(3.0, 13) / PIXEL_SCALE, rng.uniform(0, 2 * np.pi)
        at = (x + apart * np.cos(angle), y + apart * np.sin(angle))
        r = deflector.mag[2] + rng.exponential(1.2) + 0.4
        mag = r + template(float(rng.uniform(0, 0.25)), deflector.z) + rng.normal(0, 0.05, 5)
        # A fainter neighbour is smaller, at the surface brightness of the lens galaxy.
        size, q = deflector.size * 10 ** (-0.2 * (r - deflector.mag[2])), rng.uniform(0.4, 0.95)
        canvas.galaxy(*at, fluxes(mag), size, 2.8, q, turn := rng.uniform(0, np.pi))
        rows.append(_row("galaxy", "group", *at, mag, size=size, n=2.8, q=q, angle=turn, z=deflector.z))
    return rows


def _field(rng: np.random.Generator, settings: Settings, canvas: Canvas, rows: list[dict[str, object]]) -> None:
    number = rng.poisson(expected(_area(settings), 16.0, settings.faintest) * settings.density)
    population = galaxies(rng, magnitudes(rng, number, settings.faintest))
    places = rng.uniform(-0.5, settings.size - 0.5, (number, 2))
    for k, (x, y) in enumerate(places):
        draw_galaxy(rng, canvas, x, y, population, k)
        rows.append(_galaxy_row(x, y, population, k))


def _galaxy_row(x: float, y: float, population: Galaxies, k: int) -> dict[str, object]:
    kind = "late" if population.late[k] > 0.3 else "early"
    shape = {
        "size": population.size[k],
        "n": population.n[k],
        "q": population.q[k],
        "angle": population.angle[k],
        "z": population.z[k],
    }
    return _row("galaxy", kind, x, y, population.mag[k]) | shape


def _stars(rng: np.random.Generator, settings: Settings, canvas: Canvas, rows: list[dict[str, object]]) -> None:
    number = rng.poisson(settings.star_density * _area(settings) * 3600)
    for mag in stars(rng, number, 14.0, 25.0):
        x, y = rng.uniform(-0.5, settings.size - 0.5, 2)
        draw_star(rng, canvas, x, y, fluxes(mag), bool(mag[2] < BRIGHT))
        rows.append(_row("star", "star", x, y, mag, size=0.0, z=0.0))


def _apart(rng: np.random.Generator, size: int, number: int, least: float = 70.0) -> list[tuple[float, float]]:
    """Draw positions at least ``least`` px apart, as far as 40 tries each allow."""
    places: list[tuple[float, float]] = []
    margin = min(EDGE, size / 4)
    for _ in range(number):
        for _ in range(40):
            x, y = rng.uniform(margin, size - 1 - margin, 2)
            if all((x - a) ** 2 + (y - b) ** 2 > least**2 for a, b in places):
                break
        places.append((float(x), float(y)))
    return places


def _row(label: str, kind: str, x: float, y: float, mag: NDArray[np.float64], **more: float) -> dict[str, object]:
    return {
        "label": label,
        "kind": kind,
        "x": x,
        "y": y,
        **{f"mag_{b}": m for b, m in zip(BANDS, mag, strict=True)},
        **more,
    }


NUMBERS = ("z", "theta_e", "z_source", "source_mag_r", "magnification", "snr", "sigma", "size", "n", "q", "angle")


def _table(rows: list[dict[str, object]], wcs: CelestialWCS) -> Table:
    """Make the table of truth; values that do not apply are NaN."""
    columns: dict[str, NDArray[np.generic]] = {}
    for name in ("label", "kind"):
        columns[name] = np.array([row[name] for row in rows], dtype="U12")
    for name in ("x", "y", *(f"mag_{band}" for band in BANDS), *NUMBERS):
        columns[name] = np.array([row.get(name, np.nan) for row in rows], dtype=float)
    ra, dec = wcs.pixels_to_sky(columns["x"], columns["y"])
    first = {"label": columns.pop("label"), "kind": columns.pop("kind"), "ra": ra, "dec": dec}
    return Table(first | columns)
