"""Where to look in a tile: objects that are detected, positions from a file, or a dense grid; with their photometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.images import positions
from scanner.images.tile_images import TileImages
from scanner.sources import apertures as photometry
from scanner.sources import detect as detection
from scanner.sources.position_files import read_positions

MIN_SNR = 5.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sources:
    """Positions in one tile, sorted by y, then x, with the catalogue columns that are known of them.

    ``x``, ``y`` are 0-based pixels of ``detection_band`` and ``ra``, ``dec`` degrees ICRS, float64 [N]. ``columns``
    holds the others by their catalogue names (flux_r, fluxerr_r, mag_r, ..., snr, flags), each [N]. ``dropped`` counts
    positions of a file that lie outside the tile or are no numbers.
    """

    x: Floats
    y: Floats
    ra: Floats
    dec: Floats
    detection_band: str
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.x)

    def table(self) -> dict[str, NDArray[Any]]:
        """All columns by their catalogue names, in catalogue types."""
        x, y = self.x.astype(np.float32), self.y.astype(np.float32)
        return {"x": x, "y": y, "ra": self.ra, "dec": self.dec, **self.columns}

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Sources:
        """Some of the sources, in the order given."""
        columns = {name: values[which] for name, values in self.columns.items()}
        place = (self.x[which], self.y[which], self.ra[which], self.dec[which])
        return Sources(*place, self.detection_band, columns, self.dropped)


def detect(images: TileImages, min_snr: float = MIN_SNR) -> Sources:
    """Objects of the detection band with an isophotal signal to noise of at least ``min_snr``.

    Stars are among them. To cut them: they follow a narrow line of ``flux_radius`` against ``mag_auto``, round
    (``a`` / ``b`` near 1).
    """
    band = images.detection
    found = detection.find_objects(
        images.flux[band], images.variance[band], min_snr, strip=images.strip, sky=images.sky[band]
    )
    scale = images.pixel_scale
    shape: dict[str, NDArray[Any]] = {
        "flux_auto": found.flux_auto,
        "mag_auto": photometry.magnitude(found.flux_auto.astype(np.float32)),
        "a": found.a * scale,
        "b": found.b * scale,
        "theta": found.theta,
        "flux_radius": found.flux_radius * scale,
        "snr": found.snr,
    }
    columns = {name: values.astype(np.float32) for name, values in shape.items()}
    return _measured(images, found.x, found.y, {**columns, "flags": found.flags})


def grid(images: TileImages, stride: int) -> Sources:
    """Positions every ``stride`` pixels, where any band has data within half a stride."""
    if stride < 1:
        raise ValueError(f"stride is {stride}")
    height, width = images.shape
    rows, columns = np.arange(stride // 2, height, stride), np.arange(stride // 2, width, stride)
    rows = rows[images.rows.owns(rows.astype(float))]
    y, x = np.meshgrid(rows, columns, indexing="ij")
    there = np.zeros(x.shape, bool)
    for flux, present in zip(images.flux, images.present, strict=True):
        if present and len(rows):
            there |= _holds_data(flux, rows - stride // 2 - images.rows.view.start, stride)[:, : len(columns)]
    return _measured(images, x[there].astype(float), y[there].astype(float), {})


def from_file(path: str | Path, images: TileImages) -> Sources:
    """Positions of a catalogue (SExtractor ASCII, FITS, VOTable, CSV, Parquet) that lie on the tile.

    ``{tile}`` in the path becomes the tile's name. Raises ``ScannerError`` as ``source_files.read_positions`` does.
    """
    read = read_positions(Path(str(path).replace("{tile}", images.name)))
    if read.on_sky:
        x, y = positions.to_pixels(images, images.detection, read.first, read.second)
    else:
        x, y = read.first, read.second
    inside = positions.inside(images.shape, x, y)
    good = inside & images.rows.owns(y)
    dropped = 0 if images.rows.core.start else int(np.count_nonzero(~inside))  # counted once, with the first strip
    x, y = x[good], y[good]
    order = np.lexsort((x, y))
    sky = (read.first[good][order], read.second[good][order]) if read.on_sky else None
    return _measured(images, x[order], y[order], {}, dropped=dropped, sky=sky)


def _measured(
    images: TileImages,
    x: Floats,
    y: Floats,
    known: Mapping[str, NDArray[Any]],
    dropped: int = 0,
    sky: tuple[Floats, Floats] | None = None,
) -> Sources:
    """Sources at pixels (sorted) of the detection band, with aperture photometry and what else is known of them."""
    ra, dec = positions.to_sky(images, x, y) if sky is None else sky
    columns: dict[str, NDArray[Any]] = {}
    for band, aperture in zip(images.bands, photometry.measure(images, ra, dec), strict=True):
        columns[f"flux_{band}"] = aperture.flux
        columns[f"fluxerr_{band}"] = aperture.error
        columns[f"mag_{band}"] = photometry.magnitude(aperture.flux)
    return Sources(x, y, ra, dec, images.detection_band, {**columns, **_unknown(images, columns), **known}, dropped)


def _unknown(images: TileImages, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The columns of a detection, for positions that were not detected: NaN, and the aperture's signal to noise."""
    flux, error = (columns[f"{name}_{images.detection_band}"] for name in ("flux", "fluxerr"))
    empty = np.full(len(flux), np.nan, np.float32)
    names = ("flux_auto", "mag_auto", "a", "b", "theta", "flux_radius")
    with np.errstate(divide="ignore", invalid="ignore"):
        return {**dict.fromkeys(names, empty), "snr": flux / error, "flags": np.zeros(len(flux), np.int32)}


def _holds_data(flux: NDArray[np.float32], rows: NDArray[np.int64], stride: int) -> NDArray[np.bool_]:
    """For each stride x stride block that starts at one of ``rows``, whether any of its pixels holds data."""
    columns = np.arange(0, flux.shape[1], stride)
    there = [np.isfinite(flux[row : row + stride]).any(axis=0) for row in rows]
    return np.logical_or.reduceat(np.array(there), columns, axis=1)
