"""Real fields for training: the frames, the pixels that each split may see, and how to read them.

``fields.toml`` holds the rules as data. Pixels of a frame outside the columns of its split never enter memory.

Images with larger pixels are resampled by the scanner's cubic spline. That keeps the flux, but the noise of
neighbouring pixels becomes correlated, over about the ratio of the two scales (KiDS 1.8, DES 1.4, SDSS 2.1), and the
resolution is that of the survey. ``[data] repeat`` of a training configuration says how often each source occurs in an
epoch; its cutouts are stored once.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_toml, read_record
from scanner.images.calibration import calibrate
from scanner.images.flux_units import choose_zero_point, read_cards
from scanner.images.sky.wcs import CelestialWCS, flat_wcs, read_wcs
from scanner.images.tile_images import TileImages
from scanner.survey.bands import BANDS

DETECTION = ("r", "i", "g", "z", "u")
"""Bands in the order in which they are tried for detection."""
HELD_BACK = ("lens", "lens_candidate", "sim_lens")
"""Labels of frames that must not be trained on."""

FIELDS = Path(__file__).with_name("fields.toml")


@dataclass(frozen=True)
class Frame:
    """One image in several bands, and the columns [first, end) of it that one split may see; end 0 is all."""

    name: str
    source: str
    split: str
    files: Mapping[str, Path]
    hdu: int | str
    plane: int | None  # of a cube
    zero_point: float  # where the headers do not say
    pixel_scale: float  # arcsec
    seeing: float  # arcsec
    sky: bool  # whether its WCS is real
    columns: tuple[int, int] = (0, 0)
    avoid: tuple[tuple[float, float], ...] = ()  # x, y that no cutout may come near
    most: int = 0  # objects to cut at most, 0 for all
    paint: float = 1.0  # how often hosts are painted on


@dataclass(frozen=True)
class _Field:
    """One table of fields.toml."""

    path: str
    bands: tuple[str, ...]
    hdu: int | str
    pixel_scale: float
    seeing: float
    about: str
    zero_point: float = math.nan
    labels: str = ""
    cube: bool = False
    sky: bool = True
    most: int = 0
    paint: float = 1.0
    avoid: tuple[tuple[float, float], ...] = ()
    parts: Mapping[str, tuple[int, int]] = field(default_factory=lambda: {"train": (0, 0)})


def frames(root: Path, table: Path = FIELDS) -> list[Frame]:
    """List the frames below ``root`` that the table allows, once for each split, in the order of the table.

    Raises:
        ScannerError: ``fields.missing`` if a file does not exist.
    """
    result = []
    for name, one in _read_fields(table).items():
        result += list(_frames(name, one, root))
    for frame in result:
        for path in frame.files.values():
            if not path.is_file():
                raise ScannerError(
                    ErrorCode.FIELDS_MISSING, f"There is no file {path}.", "Give the folder of the real fields."
                )
    return result


def about(table: Path = FIELDS) -> dict[str, str]:
    """Describe each source in a few words."""
    return {name: one.about for name, one in _read_fields(table).items()}


def _read_fields(table: Path) -> dict[str, _Field]:
    return {name: read_record(one, _Field) for name, one in load_toml(table).items()}


def _frames(name: str, table: _Field, root: Path) -> Iterator[Frame]:
    for label, file in _labelled(root / table.labels) if table.labels else [(name, "")]:
        files = {band: root / table.path.format(band=band, file=file) for band in table.bands}
        for plane in range(_planes(next(iter(files.values())))) if table.cube else [None]:
            for split, columns in table.parts.items():
                yield Frame(
                    name=label if plane is None else f"{label}_{plane:02d}",
                    source=name,
                    split=split,
                    files=files,
                    hdu=table.hdu,
                    plane=plane,
                    zero_point=table.zero_point,
                    pixel_scale=table.pixel_scale,
                    seeing=table.seeing,
                    sky=table.sky,
                    columns=columns,
                    avoid=table.avoid,
                    most=table.most,
                    paint=table.paint,
                )


def _labelled(labels: Path) -> Iterator[tuple[str, str]]:
    """Yield name and file of each frame without a lens, by its label and by the object that it shows."""
    if not labels.is_file():
        raise ScannerError(
            ErrorCode.FIELDS_MISSING, f"There is no file {labels}.", "Give the folder of the real fields."
        )
    with labels.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if row["label"] not in HELD_BACK and not row["object"]:
                yield row["name"], row["file"]


def _planes(path: Path) -> int:
    with fits.open(path) as hdus:
        return int(hdus[0].shape[0])


def read(frame: Frame) -> TileImages:
    """Read the pixels of a frame that its split may see, in nJy, channels u g r i z, NaN for no data and absent bands.

    Positions are those of the file less the first column. An exact zero is no data. A frame without a position on the
    sky gets an invented WCS, which serves to find the same pixel in every band.
    """
    images = {band: _image(frame, band, path) for band, path in frame.files.items()}
    shape = next(iter(images.values()))[0].shape
    flux = np.full((len(BANDS), *shape), np.nan, np.float32)
    for band, (image, _) in images.items():
        flux[BANDS.index(band)] = image
    return TileImages.of(
        frame.name,
        BANDS,
        flux,
        [images[band][1] if band in images else None for band in BANDS],
        frame.pixel_scale,
        detection_band=next(band for band in DETECTION if band in images),
    )


def _image(frame: Frame, band: str, path: Path) -> tuple[NDArray[np.float32], CelestialWCS]:
    """Read one band in nJy, cut to the columns of its split, with its WCS."""
    hdu = frame.hdu.format(BAND=band.upper()) if isinstance(frame.hdu, str) else frame.hdu
    first, end = frame.columns
    with fits.open(path) as hdus:
        counts = np.asarray(hdus[hdu].data, np.float64)
        header = hdus[hdu].header
        # [H, W], or one image of a cube [N, H, W].
        counts = counts if frame.plane is None else counts[frame.plane]
        counts = counts[:, first : end or None]
        cards = read_cards(hdus[hdu], hdus, path)
        zero_point = choose_zero_point(cards, path, frame.pixel_scale, default=frame.zero_point)
        wcs = read_wcs(header, counts.shape, path) if frame.sky else flat_wcs(counts.shape, frame.pixel_scale)
    if frame.sky:
        wcs.wcs.crpix[0] -= first  # the columns before were cut off
    return calibrate(counts, zero_point, zero_is_missing=True), wcs
