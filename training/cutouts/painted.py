"""Cutouts of painted lenses, of the same hosts without a lens, and of painted look-alikes, from one set of images.

Positives and negatives have the same hosts by construction: no property of a host tells whether an arc was painted.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.sources import DETECTION_VERSION
from scanner.sources.sources import Sources, detect
from scanner.survey.bands import BANDS
from scanner.windows.frame import WindowFrame
from scanner.windows.windows import Windows
from training.cutouts.cutting import Plate, is_allowed, match_truth
from training.cutouts.production import Task
from training.cutouts.selection import Rule
from training.cutouts.shards import AT_ONCE, PAINTED, Shard, make_table
from training.simulate.canvas import Canvas
from training.simulate.lens_population import Deflector
from training.simulate.painting import lookalike
from training.simulate.painting.field import measure_conditions
from training.simulate.painting.hosts import Hosts, draw_deflector_like, draw_host, find_hosts
from training.simulate.painting.lens import paint_lens, with_photon_noise
from training.simulate.source_images import SourceImage, find_galaxies, read_source_images

VERSION = 3
"""Raise it when the same task paints other lenses than before."""

CLEAR = 1.0
"""Mean brightness of the middle of a window, in units of the noise of a pixel, above which something is there."""
WHOLE = 0.98
"""Least share of the pixels of a host's window that have data."""

DRAWN = 1.5
"""Hosts that are painted themselves, for each painted lens on a real one: bright hosts are rare in small fields."""

LOOKALIKES = 0.6
"""Look-alikes for each painted lens."""

Array = NDArray[np.float64]
Row = dict[str, object]


class Plates(Task, Protocol):
    """A task whose images are cut: those of a field and split, or simulated scenes."""

    @property
    def seed(self) -> int: ...

    @property
    def paint(self) -> float:
        """How often its hosts are painted on, in units of the number of paintings."""

    def plates(self) -> Iterator[Plate]: ...


@dataclass(frozen=True)
class PaintTask:
    """Lenses and look-alikes on the images of another task, ``paintings`` on each plausible host on average.

    ``galaxies`` are files of HST galaxies, which serve as sources; without them all sources are Sersic profiles.
    """

    base: Plates
    paintings: float
    galaxies: tuple[Path, ...] = ()
    version: int = VERSION
    detection: int = DETECTION_VERSION

    @property
    def name(self) -> str:
        return f"{self.base.name}-painted"

    @property
    def source(self) -> str:
        return f"{self.base.source}{PAINTED}"

    @property
    def split(self) -> str:
        return self.base.split

    @property
    def window(self) -> int:
        return self.base.window

    def parts(self) -> Iterator[Shard]:
        images = read_source_images(self.galaxies)
        for plate in self.base.plates():
            yield from paint(plate, self.paintings * self.base.paint, self.base.seed, images)


def paint(plate: Plate, paintings: float, seed: int, images: tuple[SourceImage, ...] = ()) -> Iterator[Shard]:
    """Paint on one plate. Its random numbers depend on ``seed`` and on its name, whatever else is painted."""
    rng = np.random.default_rng([seed, 1, zlib.crc32(f"{plate.source}/{plate.images.name}".encode())])
    sources = detect(plate.images, min_snr=Rule().min_snr)
    # PSF and noise are those of the whole plate; a host must be allowed to be cut, and be no simulated lens.
    canvas = Canvas(plate.window, measure_conditions(plate.images, sources, plate.seeing))
    sources = sources.take(is_allowed(plate, sources.x, sources.y))
    label, _ = match_truth(plate, sources.x, sources.y)
    sources = sources.take(~np.isin(label, ("lens", "lookalike")))
    hosts = find_hosts(plate.images, sources, plate.seeing)
    numbers = rng.poisson(paintings * hosts.weight)

    painter = _Painter(plate, canvas, images, rng)
    for first in range(0, len(hosts), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        painter.paint_hosts(hosts, sources, np.arange(len(hosts))[some], numbers[some])
        yield from painter.take(AT_ONCE)
    # Then on the sky between them: hosts that are painted too, and look-alikes that need none.
    on_sky, drawn = sum(lookalike.SHARES[kind] for kind in lookalike.ON_SKY), round(DRAWN * painter.lenses)
    painter.paint_sky(drawn, round(LOOKALIKES * (painter.lenses + drawn) * on_sky))
    yield from painter.take(1)


class _Painter:
    """Collects painted windows and their rows until they are taken as parts of a shard."""

    def __init__(self, plate: Plate, canvas: Canvas, images: tuple[SourceImage, ...], rng: np.random.Generator) -> None:
        self._plate, self._canvas, self._images, self._rng = plate, canvas, images, rng
        self._pixels: list[NDArray[np.float32]] = []
        self._rows: list[Row] = []
        self.lenses = 0

    def paint_hosts(self, hosts: Hosts, sources: Sources, which: NDArray[np.intp], numbers: NDArray[np.int64]) -> None:
        """Paint on the hosts ``which``, as often as ``numbers`` says: a lens, the host as it is, and look-alikes."""
        mine = sources.take(hosts.rows[which])
        windows, places = self._cut(mine)
        for k, (host, number) in enumerate(zip(which, numbers, strict=True)):
            if not self._is_whole(windows[k]):
                continue
            about: Row = {name: mine.columns[column][k] for name, column in _HOST_COLUMNS.items()}
            about |= {"x": mine.x[k], "y": mine.y[k], "ra": mine.ra[k], "dec": mine.dec[k], "host": int(host)}
            look = (hosts.mag[host], float(hosts.size[host]), float(hosts.q[host]), float(hosts.angle[host]))
            for _ in range(number):
                self._paint_pair(windows[k], places[k], about, lambda look=look: draw_deflector_like(self._rng, *look))  # type: ignore[misc]

    def paint_sky(self, hosts: int, looks: int) -> None:
        """Paint where nothing is known to be: pairs on ``hosts`` galaxies that are painted too, and look-alikes."""
        height, width = self._plate.images.flux.shape[1:]
        # Twice as many places as are needed, since some are not clear.
        x, y = self._rng.uniform(0, (width - 1, height - 1), (2 * (hosts + looks), 2)).T
        allowed = np.flatnonzero(is_allowed(self._plate, x, y))
        spots = Sources.at(self._plate.images, x[allowed], y[allowed])
        shares = np.array([lookalike.SHARES[kind] for kind in lookalike.ON_SKY])
        for first in range(0, len(spots), AT_ONCE):
            some = spots.take(slice(first, first + AT_ONCE))
            for k, (window, place) in enumerate(zip(*self._cut(some), strict=True)):
                if hosts + looks == 0:
                    return
                if not self._is_whole(window) or not self._is_clear(window):
                    continue
                about: Row = {"x": some.x[k], "y": some.y[k], "ra": some.ra[k], "dec": some.dec[k]}
                if looks:
                    looks -= 1
                    kind = str(self._rng.choice(lookalike.ON_SKY, p=shares / shares.sum()))
                    light = self._lookalike(place, kind, np.full(len(BANDS), np.nan), 0.0)
                    self._append(window + light, about | {"label": kind, "host": -1})
                    continue
                hosts -= 1
                self._canvas.flux[:] = 0
                one, z_source = draw_host(self._rng, self._canvas, *place)
                host = window + with_photon_noise(self._rng, self._canvas.flux, self._canvas).astype(np.float32)
                about |= {"mag": one.mag[2], "mag_r": one.mag[2], "flux_radius": one.size, "host": -2 - hosts}
                self._paint_pair(host, place, about, lambda one=one, z=z_source: (one, z))  # type: ignore[misc]

    def _paint_pair(
        self,
        host: NDArray[np.float32],
        place: tuple[float, float],
        about: Row,
        draw: Callable[[], tuple[Deflector, float]],
    ) -> None:
        """Add a window with a lens painted on its ``host``, the host as it is, and at times a look-alike around it."""
        painted = paint_lens(self._rng, self._canvas, *place, draw, self._images)
        if painted is None:
            return
        self._canvas.flux[:] = 0
        self._canvas.add(*place, painted.light)
        more = {"theta_e": painted.deflector.theta_e, "arc_white_snr": painted.white_snr}
        self._append(host + self._canvas.flux, about | {"label": "lens"} | more)
        self._append(host, about | {"label": "galaxy"})
        self.lenses += 1
        shares = np.array([lookalike.SHARES[kind] for kind in lookalike.AROUND_HOST])
        if self._rng.random() < LOOKALIKES * shares.sum():
            kind = str(self._rng.choice(lookalike.AROUND_HOST, p=shares / shares.sum()))
            light = self._lookalike(place, kind, painted.deflector.mag, painted.deflector.z)
            self._append(host + light, about | {"label": kind})

    def take(self, least: int) -> Iterator[Shard]:
        """Yield what was painted, at most ``AT_ONCE`` in a part, and keep the rest below ``least``."""
        while self._rows and len(self._rows) >= least:
            pixels, self._pixels = np.stack(self._pixels[:AT_ONCE]), self._pixels[AT_ONCE:]
            rows, self._rows = self._rows[:AT_ONCE], self._rows[AT_ONCE:]
            yield self._shard(pixels, rows)

    def _cut(self, sources: Sources) -> tuple[NDArray[np.float32], list[tuple[float, float]]]:
        """Cut windows [N, B, W, W], and find where in them the sources lie."""
        plate, side = self._plate, self._plate.window
        windows = Windows(plate.images, sources, WindowFrame(BANDS, side, PIXEL_SCALE))
        middle = (side - 1) / 2
        if windows.is_resampled:
            return windows.gather(0, len(sources)), [(middle, middle)] * len(sources)
        # A window begins at a whole pixel, its source within half a pixel of the middle.
        x, y = (axis - np.ceil(axis - middle - 0.5) for axis in (sources.x, sources.y))
        return windows.gather(0, len(sources)), list(zip(x.tolist(), y.tolist(), strict=True))

    def _lookalike(self, place: tuple[float, float], kind: str, mag: Array, z: float) -> NDArray[np.float32]:
        self._canvas.flux[:] = 0
        lookalike.paint_lookalike(self._rng, self._canvas, *place, kind, mag, z)
        light = self._canvas.flux.astype(np.float64)
        # Artefacts are no light from the sky, and have no photon noise.
        noisy = light if kind == "artefact" else with_photon_noise(self._rng, light, self._canvas)
        return np.asarray(noisy, np.float32)

    def _is_whole(self, window: NDArray[np.float32]) -> bool:
        """Check that a window has data in nearly all pixels of the bands that the plate has."""
        return bool(np.isfinite(window).mean() * len(BANDS) > WHOLE * sum(self._plate.images.present))

    def _is_clear(self, window: NDArray[np.float32]) -> bool:
        """Check that no bright object lies within some 2 arcsec of the middle of a window, in any band."""
        half = window.shape[-1] // 2
        middle = slice(max(half - 10, 0), half + 10)
        rms = np.array([one.rms for one in self._canvas.conditions])
        with np.errstate(invalid="ignore"):
            bright = np.nanmean(np.nan_to_num(window[:, middle, middle]), axis=(1, 2)) > CLEAR * rms
        return not bright.any()

    def _append(self, pixels: NDArray[np.float32], row: Row) -> None:
        self._pixels.append(pixels)
        self._rows.append(row)

    def _shard(self, pixels: NDArray[np.float32], rows: Sequence[Row]) -> Shard:
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}
        columns["x"] = columns["x"] + self._plate.columns[0]
        if not self._plate.sky:
            columns |= {"ra": np.array(np.nan), "dec": np.array(np.nan)}
        valid = np.isfinite(pixels).mean(axis=(1, 2, 3)) * len(BANDS) / max(sum(self._plate.images.present), 1)
        table: pa.Table = make_table(
            len(rows), frame=self._plate.images.name, kind="painted", band_fraction=valid.astype(np.float32), **columns
        )
        return Shard(pixels, table)


_HOST_COLUMNS = {"mag": "mag_auto", "mag_r": "mag_r", "flux_radius": "flux_radius", "snr": "snr"}


def paint_tasks(bases: Sequence[Plates], paintings: float, data: Path | None) -> list[PaintTask]:
    """List a task for each task whose images are painted on; ``data`` is the folder with the HST galaxies."""
    galaxies = find_galaxies(data) if data is not None else ()
    return [PaintTask(base, paintings, galaxies) for base in bases if base.paint > 0]
