"""Pictures of a release: a mosaic of each grade, and a cutout of each candidate in colour and as FITS."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits

from catalogs.atomic import replacing
from catalogs.errors import ScannerError
from catalogs.store.provenance import software
from scanner.candidates.inspected_objects import InspectedObject
from scanner.figures.canvas import FORMATS
from scanner.figures.composite import compose_rgb
from scanner.figures.gallery import Panel, draw_gallery
from scanner.hunt.project import Project
from scanner.survey.survey import AB_NANOJANSKY
from scanner.windows.by_position import Window, WindowReader
from scanner.windows.frame import WindowFrame
from scanner.windows.native import cut_native, read_around

if TYPE_CHECKING:
    from astropy.table import Row, Table


def read_windows(
    project: Project, objects: Sequence[InspectedObject], reader: WindowReader | None
) -> list[tuple[Window, WindowFrame] | None]:
    """Read the cutout of each object: from its tile where a reader is given, which tells where north is.

    Else it is that of the project. None stands for one without pixels.
    """
    if reader is not None:
        places = ([one.tile for one in objects], [one.ra for one in objects], [one.dec for one in objects])
        found = reader.windows(*places)
        return [None if isinstance(one, ScannerError) else (one, reader.frame) for one in found]
    windows: list[tuple[Window, WindowFrame] | None] = []
    for one in objects:
        current = None if one.place is None else project.round(one.place[0])
        flux = None if current is None or one.place is None else current.flux(one.place[1])
        windows.append(None if flux is None or current is None else (Window(flux), current.frame))
    return windows


def draw_mosaics(
    folder: Path, candidates: Table, windows: Sequence[tuple[Window, WindowFrame] | None], grades: Sequence[str]
) -> None:
    """Draw a mosaic of the candidates of each grade, as PNG and PDF, in the order of the table."""
    frame = next((one[1] for one in windows if one is not None), None)
    if frame is None:
        return
    for grade in grades:
        panels = [
            # Cutouts of another model may be of another size; one scale bar serves those of one.
            Panel(window[0] if window is not None and window[1] == frame else None, _caption(row))
            for row, window in zip(candidates, windows, strict=True)
            if row["grade"] == grade
        ]
        if panels:
            for ending in FORMATS:
                draw_gallery([panels], frame, folder / f"{grade.replace('/', '_')}.{ending}")


def _caption(row: Row) -> tuple[str, ...]:
    mean, error = float(row["grade_mean"]), float(row["grade_error"])
    spread = f" ± {error:.2f}" if np.isfinite(error) else ""
    known = [str(row["known_as"])] if "known_as" in row.colnames and row["known_as"] else []
    return str(row["name"]).split()[-1], f"{row['grade']}  G = {mean:.2f}{spread}", *known


def write_picture(path: Path, window: Window, frame: WindowFrame) -> None:
    """Write a cutout in colour as PNG, enlarged to at least 256 pixels a side."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(compose_rgb(window.flux, frame.bands)))
    times = -(-256 // picture.width)
    with io.BytesIO() as file:
        picture.resize((times * picture.width, times * picture.height), Image.Resampling.NEAREST).save(file, "PNG")
        with replacing(path) as temporary:
            temporary.write_bytes(file.getvalue())


def write_cutout(path: Path, row: Row, reader: WindowReader, size: float) -> bool:
    """Write a cutout of ``size`` arcsec as FITS: an image in nJy for each band, in the tile's pixels and with its WCS.

    Returns False where no band has data.

    Raises:
        ScannerError: ``query.outside_coverage``, or a code that starts with ``tile.``.
    """
    tile, ra, dec = str(row["tile"]), float(row["ra"]), float(row["dec"])
    opened = reader.open_tile(tile)
    try:
        # The corner of the cutout, and the offset between the grids of two bands.
        images = read_around(opened, tile, ra, dec, 0.75 * size)
        sources = {band: source.name for band, source in opened.paths.items()}
    finally:
        opened.close()
    primary = fits.PrimaryHDU()
    primary.header["OBJECT"] = (str(row["name"]), "by position, IAU style")
    primary.header["RA_OBJ"], primary.header["DEC_OBJ"] = (ra, "degrees ICRS"), (dec, "degrees ICRS")
    primary.header["TILE"] = (tile, "tile of the survey")
    primary.header["CREATOR"] = software()
    hdus = [primary]
    for band in range(len(images.bands)):
        if (cutout := cut_native(images, band, ra, dec, size)) is None:
            continue
        hdu = fits.ImageHDU(cutout.flux, name=cutout.band)
        hdu.header.update(cutout.wcs)
        hdu.header["BUNIT"] = ("nJy", "flux of a pixel; NaN for no data")
        hdu.header["MAGZERO"] = (AB_NANOJANSKY, "AB magnitude of 1 nJy")
        hdu.header["FILTER"] = cutout.band
        hdu.header["SRCFILE"] = sources[cutout.band]
        hdus.append(hdu)
    if len(hdus) == 1:
        return False
    with io.BytesIO() as file:
        fits.HDUList(hdus).writeto(file, checksum=True)
        with replacing(path) as temporary:
            temporary.write_bytes(file.getvalue())
    return True
