"""Where to look in a tile: objects that are detected, positions from a file, or a dense grid; with their photometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalogs.sky.geometry import normalise_ra
from scanner.images.sections import inside
from scanner.images.tile_images import TileImages
from scanner.sources import apertures, table_of_tile
from scanner.sources.detect import find_objects
from scanner.sources.dropped import Dropped

MIN_SNR = 5.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sources:
    """Positions in one tile, sorted by y, then x, with their columns of the catalogue.

    ``x``, ``y`` are 0-based pixels of ``detection_band`` and ``ra``, ``dec`` degrees ICRS, float64 [N]. ``pixels`` are
    x and y in each band of the images, computed from ``ra`` and ``dec`` (NaN in a missing band). ``columns`` holds the
    others by their catalogue names (flux_r, fluxerr_r, mag_r, ..., snr, flags), each [N]. ``by_sky``: they were given
    by RA and Dec. ``dropped_by`` counts the positions of a table that are not among them, and ``notes`` are sentences
    on the table for the tile's report; ``sha256`` is the digest of its file.
    """

    x: Floats
    y: Floats
    ra: Floats
    dec: Floats
    detection_band: str
    pixels: tuple[tuple[Floats, Floats], ...]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    by_sky: bool = False
    dropped_by: Dropped = field(default_factory=Dropped)
    notes: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def dropped(self) -> int:
        """The number of positions of a table that are not among the sources."""
        return self.dropped_by.total

    @classmethod
    def at(cls, images: TileImages, x: Floats, y: Floats, sky: tuple[Floats, Floats] | None = None) -> Sources:
        """Sources at pixels of the detection band; ``sky``: their RA and Dec in degrees, if they were given by these.

        Positions are projected here and nowhere else, once for each band.
        """
        ra, dec = images.to_sky(x, y) if sky is None else (normalise_ra(sky[0]), sky[1])
        pixels = tuple(images.to_pixels(band, ra, dec) for band in range(len(images.bands)))
        return cls(x, y, ra, dec, images.detection_band, pixels, by_sky=sky is not None)

    def __len__(self) -> int:
        return len(self.x)

    def table(self) -> dict[str, NDArray[Any]]:
        """All columns by their catalogue names, in catalogue types."""
        x, y = self.x.astype(np.float32), self.y.astype(np.float32)
        return {"x": x, "y": y, "ra": self.ra, "dec": self.dec, **self.columns}

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Sources:
        """Some of the sources, in the order given."""
        return replace(
            self,
            x=self.x[which],
            y=self.y[which],
            ra=self.ra[which],
            dec=self.dec[which],
            pixels=tuple((x[which], y[which]) for x, y in self.pixels),
            columns={name: values[which] for name, values in self.columns.items()},
        )


def detect(images: TileImages, min_snr: float = MIN_SNR) -> Sources:
    """Detect objects with an isophotal signal to noise of at least ``min_snr`` in the detection band.

    Stars are among them. To cut them: they follow a narrow line of ``flux_radius`` against ``mag_auto``, round
    (``a`` / ``b`` near 1).

    Raises:
        ScannerError: ``tile.too_crowded``.
    """
    objects = find_objects(images, min_snr)
    scale = images.pixel_scale  # sizes become arcsec
    shape: dict[str, NDArray[Any]] = {
        "flux_auto": objects.flux_auto,
        "mag_auto": apertures.magnitude(objects.flux_auto.astype(np.float32)),
        "a": objects.a * scale,
        "b": objects.b * scale,
        "theta": objects.theta,
        "flux_radius": objects.flux_radius * scale,
        "snr": objects.snr,
    }
    columns = {name: values.astype(np.float32) for name, values in shape.items()}
    return _with_photometry(images, Sources.at(images, objects.x, objects.y), {**columns, "flags": objects.flags})


def grid(images: TileImages, stride: int) -> Sources:
    """Positions every ``stride`` pixels, where any band has data within half a stride."""
    if stride < 1:
        raise ValueError(f"stride is {stride}")
    # Positions are those of the whole tile, of which the strip keeps its own rows.
    height, width = images.shape
    rows, columns = np.arange(stride // 2, height, stride), np.arange(stride // 2, width, stride)
    rows = rows[images.strip.owns(rows.astype(float))]
    y, x = np.meshgrid(rows, columns, indexing="ij")
    has_data = np.zeros(x.shape, bool)
    for flux, present in zip(images.flux, images.present, strict=True):
        if present and len(rows):
            has_data |= _holds_data(flux, rows - stride // 2 - images.strip.view.start, stride)[:, : len(columns)]
    return _with_photometry(images, Sources.at(images, x[has_data].astype(float), y[has_data].astype(float)), {})


def from_file(path: str | Path, images: TileImages) -> Sources:
    """Positions of a table (text, FITS, VOTable, Parquet) that lie on the tile.

    ``{tile}`` in the path becomes the tile's name.

    Raises:
        ScannerError: As ``position_files.read_positions`` does, or ``sources.other_tile``.
    """
    file = table_of_tile.path_for(path, images.name)
    table = table_of_tile.read(file)
    table_of_tile.check(file, table, images)
    x, y = table.first, table.second
    if table.on_sky:
        x, y = images.to_pixels(images.detection, table.first, table.second)
    is_number, is_on_sky = table.is_number, table.is_on_sky
    on_tile = is_number & is_on_sky & inside(images.shape, x, y)
    # Rows of the catalogue are sorted by y, then x, whatever the order of the file.
    own = np.flatnonzero(on_tile & images.strip.owns(y))
    own = own[np.lexsort((x[own], y[own]))]
    sky = (table.first[own], table.second[own]) if table.on_sky else None
    dropped, notes = Dropped(), list[str]()
    # Every strip sees all positions of the file: those that are dropped are counted with the first.
    if images.strip.is_first:
        counts = (~is_number, is_number & ~is_on_sky, is_number & is_on_sky & ~on_tile)
        dropped = Dropped(*(int(np.count_nonzero(which)) for which in counts))
        # A table of the whole survey may have any share of its rows on a tile.
        if (not table.on_sky or file != Path(path)) and 2 * dropped.off_tile > len(x):
            notes.append(f"{dropped.off_tile} of {len(x)} positions of {file} are off the tile")
    sources = _with_photometry(images, Sources.at(images, x[own], y[own], sky), {})
    return replace(sources, dropped_by=dropped, notes=tuple(notes), sha256=table.sha256)


def _with_photometry(images: TileImages, sources: Sources, detected: Mapping[str, NDArray[Any]]) -> Sources:
    """The sources with the columns of their apertures, and with those of a detection where there was one."""
    columns: dict[str, NDArray[Any]] = {}
    for band, name in enumerate(images.bands):
        aperture = apertures.measure_band(images, band, *sources.pixels[band])
        columns[f"flux_{name}"] = aperture.flux
        columns[f"fluxerr_{name}"] = aperture.error
        columns[f"mag_{name}"] = apertures.magnitude(aperture.flux)

    # The columns of a detection for positions that were not detected: NaN, and the aperture's signal to noise.
    flux, error = (columns[f"{name}_{images.detection_band}"] for name in ("flux", "fluxerr"))
    shape = ("flux_auto", "mag_auto", "a", "b", "theta", "flux_radius")
    columns |= dict.fromkeys(shape, np.full(len(sources), np.nan, np.float32))
    with np.errstate(divide="ignore", invalid="ignore"):
        columns |= {"snr": flux / error, "flags": np.zeros(len(sources), np.int32)}
    return replace(sources, columns={**columns, **detected})


def _holds_data(flux: NDArray[np.float32], rows: NDArray[np.int64], stride: int) -> NDArray[np.bool_]:
    """For each stride x stride block that starts at one of ``rows``, whether any of its pixels holds data."""
    columns = np.arange(0, flux.shape[1], stride)
    finite = [np.isfinite(flux[row : row + stride]).any(axis=0) for row in rows]
    return np.logical_or.reduceat(np.array(finite), columns, axis=1)
