"""Tiles to scan, made once from the demo tile: its simulated pixels repeated or cropped to a size, raw or RICE.

The demo has about as many objects a square pixel as the survey (20,000 in 10,000 x 10,000), and five bands, two of
them with mask and variance. All tiles of a format are the same files under different names, so they lie in the page
cache after the first: what is measured is decoding, not the disk.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

import scanner
from scanner.survey import survey, tile_list
from scanner.survey.tile import Tile

DEMO = Path(scanner.__file__).parent / "demo"
DEMO_COLUMN = 217
"""The first half of the demo tile's name, 217.292; that of the others follows."""

SURVEY = replace(survey.load("unions"), grid=None)
"""UNIONS without its grid, for the images of all tiles lie at the place of the first."""

FORMATS = ("raw", "rice")

USUAL, CROWDED, EMPTY = "", "crowded", "empty"
CROWD = ((0, 0), (377, 611), (743, 229), (1103, 971))
"""A crowded tile is the demo added to itself, moved by so many rows and columns; an empty one has its noise alone."""


def made(folder: Path, pixels: int, form: str, count: int = 3, sky: str = USUAL, rows: int | None = None) -> list[Tile]:
    """``count`` tiles of ``pixels`` a side in ``form`` (raw or rice), kept under ``folder`` for the next run.

    ``rows``: so many of them only, each as long: a piece of a large tile, with its share of all that is done by row.
    """
    shape = rows or pixels, pixels
    sources = sorted(tile_list.find(SURVEY, f"{DEMO_COLUMN}.292", DEMO).files.values())
    # Tiles of another demo go to another folder, so no old ones are used.
    digest = zlib.crc32(b"".join(zlib.crc32(path.read_bytes()).to_bytes(4) for path in sources))
    home = folder / "-".join(filter(None, ("tiles", "x".join(map(str, sorted({*shape}))), form, sky, f"{digest:08x}")))
    home.mkdir(parents=True, exist_ok=True)
    for source in sources:
        first = home / (source.name if form == "rice" else source.stem)
        if not first.exists():
            # An interrupted run must not leave a part of a tile under the final name.
            temporary = first.with_name(f".{first.name}")
            _resized(source, shape, form == "rice", sky).writeto(temporary, overwrite=True)
            temporary.replace(first)
        for number in range(1, count):
            other = home / first.name.replace(str(DEMO_COLUMN), str(DEMO_COLUMN + number))
            if not other.exists():
                other.hardlink_to(first)
    return [tile_list.find(SURVEY, f"{DEMO_COLUMN + number}.292", home) for number in range(count)]


def write_survey(path: Path) -> Path:
    """Write ``SURVEY`` as a survey file, for a command."""
    lines = (survey.SURVEYS / "unions.toml").read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("grid")), encoding="utf-8")
    return path


def _resized(source: Path, shape: tuple[int, int], compress: bool, sky: str) -> fits.HDUList:
    with fits.open(source) as hdus:
        planes = [_plane(hdu, shape, compress, sky) for hdu in hdus if hdu.data is not None]
    if len(planes) == 1 and not compress:
        return fits.HDUList([fits.PrimaryHDU(planes[0].data, planes[0].header)])
    return fits.HDUList([fits.PrimaryHDU(), *planes])


def _plane(hdu: Any, shape: tuple[int, int], compress: bool, sky: str) -> Any:
    """One plane of the new shape, its centre where the sky was at the old one's centre."""
    copies = [-(-length // side) for length, side in zip(shape, hdu.data.shape, strict=True)]
    data = np.tile(_sky(hdu, sky), copies)[: shape[0], : shape[1]]
    header = hdu.header.copy()
    for axis, length, side in zip(("CRPIX2", "CRPIX1"), shape, hdu.data.shape, strict=True):
        header[axis] += (length - side) / 2
    # Astropy gives this name to a compressed plane that has none.
    name = None if hdu.name == "COMPRESSED_IMAGE" else hdu.name
    if not compress:
        return fits.ImageHDU(data, header, name=name)
    if hdu.name == "VARIANCE":
        return fits.CompImageHDU(data, header, name=name, compression_type="GZIP_2", quantize_level=0)
    if data.dtype.kind == "i":
        return fits.CompImageHDU(data, header, name=name, compression_type="RICE_1")
    # quantised once already: a finer step now leaves the pixels, and the time to decode them, as they were
    options = {"quantize_level": 4, "quantize_method": 2, "dither_seed": 1}
    return fits.CompImageHDU(data, header, name=name, compression_type="RICE_1", **options)


def _sky(hdu: Any, sky: str) -> NDArray[Any]:
    """The plane's own sky, the same with more objects (and their noise), or without any. Masks stay as they are."""
    data: NDArray[Any] = hdu.data
    if sky == USUAL or data.dtype.kind == "i":
        return data
    if sky == CROWDED:
        return np.sum([np.roll(data, by, axis=(0, 1)) for by in CROWD], axis=0, dtype=data.dtype)
    if hdu.name == "VARIANCE":
        return data
    there = data[np.isfinite(data) & (data != 0)]
    low, middle = np.percentile(there, [16, 50])  # below the median there is sky alone
    noise = np.random.default_rng(0).normal(middle, middle - low, data.shape).astype(data.dtype)
    return np.where(np.isfinite(data), noise, data)
