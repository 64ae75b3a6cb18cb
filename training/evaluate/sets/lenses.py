"""Real lenses and real galaxies of the development tiles, as cutouts."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sep
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.images.tile_images import open_tile
from scanner.sources.sources import Sources
from scanner.survey import survey, tile_list
from scanner.survey.bands import BANDS
from scanner.survey.survey import ab_magnitude
from scanner.windows.frame import WindowFrame
from scanner.windows.windows import Windows
from training.cutouts import real_fields

LOOK_ALIKE = "look_alike"
LENS_TILE, TILES = "110.280", ("110.280", "111.280")  # 111.280 repeats lenses of 110.280: only its negatives count
APERTURE = 1.0  # arcsec, radius: the 2 arcsec aperture of negatives.csv

Row = dict[str, str]


@dataclass(frozen=True)
class LabelledWindows:
    """``flux`` float32 [N, B, S, S] nJy, NaN for no data; ``is_lens`` bool [N]; ``magnitude`` [N], r, 2" aperture.

    ``frame`` str [N] names the image that an object was cut from: objects of one frame share background and seeing.
    ``trained`` bool [N] tells whether models may be trained on that image.
    """

    flux: NDArray[np.float32]
    is_lens: NDArray[np.bool_]
    magnitude: NDArray[np.float64]
    frame: NDArray[np.str_]
    trained: NDArray[np.bool_]
    name: str = "lenses"
    bands: tuple[str, ...] = BANDS

    def __len__(self) -> int:
        return len(self.flux)

    @property
    def present(self) -> tuple[str, ...]:
        """Bands in which any cutout has data."""
        return tuple(band for i, band in enumerate(self.bands) if np.isfinite(self.flux[:, i]).any())


def load_lenses(data: Path, side: int) -> LabelledWindows:
    """Cut the lenses and negatives of the development tiles, ``side`` pixels wide.

    ``data`` holds ``tiles_dev``: truth.csv, negatives.csv and build_tiles.py, which is run into a temporary folder.

    Raises:
        ScannerError: ``evaluate.no_data``, or ``evaluate.no_tiles`` if build_tiles.py fails.
    """
    folder = data / "tiles_dev"
    truth, negatives = _rows(folder / "truth.csv"), _rows(folder / "negatives.csv")
    lenses = [row for row in truth if row["tile"] == LENS_TILE and row["label"] == "lens"]
    # Lenses of one tile, negatives of both.
    groups = [(LENS_TILE, lenses), *((tile, [r for r in negatives if r["tile"] == tile]) for tile in TILES)]
    flux, rows = _cut_groups(folder, groups, side)
    # A negative names its frame; a lens has the name of the frame that it lies in.
    frame = np.array([row.get("frame") or row["name"] for row in rows])
    trained = np.isin(frame, [field.name for field in real_fields.frames(data) if field.split == "train"])
    is_lens, magnitude = np.arange(len(rows)) < len(lenses), magnitudes(flux[:, BANDS.index("r")])
    return LabelledWindows(flux, is_lens, magnitude, frame, trained)


@dataclass(frozen=True)
class LookAlikes:
    """``flux`` float32 [N, B, S, S] nJy of objects that people took for lenses, and their ``kind`` str [N]."""

    flux: NDArray[np.float32]
    kind: NDArray[np.str_]
    name: str = "look-alikes"


def load_lookalikes(data: Path, side: int) -> LookAlikes:
    """Cut the look-alikes of the guide frames, which lie in the development tiles, ``side`` pixels wide.

    Raises:
        ScannerError: As ``load_lenses``.
    """
    folder = data / "tiles_dev"
    rows = [row for row in _rows(folder / "truth.csv") if row["label"] == LOOK_ALIKE]
    groups = [(tile, [row for row in rows if row["tile"] == tile]) for tile in TILES]
    flux, rows = _cut_groups(folder, groups, side)
    return LookAlikes(flux, np.array([row["kind"] for row in rows]))


def magnitudes(flux: NDArray[np.float32]) -> NDArray[np.float64]:
    """Measure AB magnitudes [N] within 1 arcsec of the centre of [N, S, S] in nJy; fluxes below 1 nJy count as 1."""
    centre, radius = [(flux.shape[-1] - 1) / 2], APERTURE / PIXEL_SCALE
    # Missing pixels count as zero flux: one NaN would make the sum NaN.
    whole = np.ascontiguousarray(np.nan_to_num(flux))
    sums = [sep.sum_circle(window, centre, centre, radius)[0][0] for window in whole]
    return ab_magnitude(np.maximum(sums, 1.0))


def matched(labelled: LabelledWindows, each: int = 3) -> NDArray[np.intp]:
    """Index all lenses, then the ``each`` negatives nearest in magnitude to each of them, none of them twice."""
    lenses, free = np.flatnonzero(labelled.is_lens), list(np.flatnonzero(~labelled.is_lens))
    partners: list[int] = []
    for lens in lenses:
        # The row decides between equal differences, so that the choice is reproducible.
        free.sort(key=lambda other: (abs(labelled.magnitude[other] - labelled.magnitude[lens]), other))
        partners, free = partners + free[:each], free[each:]
    return np.concatenate([lenses, np.array(partners, np.intp)])


def central(flux: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Crop the middle ``side`` pixels of [..., S, S].

    Raises:
        ScannerError: ``evaluate.window`` where S is smaller.
    """
    if side > flux.shape[-1]:
        message = f"Cutouts of {flux.shape[-1]} px are smaller than the {side} px that are needed."
        raise ScannerError(ErrorCode.EVALUATE_WINDOW, message, "Cut larger ones.")
    first = math.ceil((flux.shape[-1] - side) / 2)
    return flux[..., first : first + side, first : first + side]


def _rows(path: Path) -> list[Row]:
    if not path.is_file():
        hint = "Give --data the folder of development data, which holds tiles_dev/."
        raise ScannerError(ErrorCode.EVALUATE_NO_DATA, f"There is no file {path}.", hint)
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _cut_groups(
    folder: Path, groups: Sequence[tuple[str, list[Row]]], side: int
) -> tuple[NDArray[np.float32], list[Row]]:
    """Build the tiles, and cut the rows of each; returns the cutouts, and their rows in the same order."""
    with tempfile.TemporaryDirectory(prefix="tiles_dev_") as built:
        _build(folder / "build_tiles.py", built)
        flux = np.concatenate([_cut(Path(built), tile, rows, side) for tile, rows in groups if rows])
    return flux, [row for _, part in groups for row in part]


def _build(script: Path, out: str) -> None:
    done = subprocess.run([sys.executable, str(script), out], capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        hint = "Check that 450 MB of temporary space are free."
        raise ScannerError(ErrorCode.EVALUATE_NO_TILES, f"{script} failed: {reason}", hint)


def _cut(folder: Path, tile: str, rows: list[Row], side: int) -> NDArray[np.float32]:
    unions = survey.load("unions")
    images = open_tile(unions, tile_list.find(unions, tile, folder))
    x, y, ra, dec = (np.array([float(row[key]) for row in rows]) for key in ("x", "y", "ra", "dec"))
    return Windows(images, Sources.at(images, x, y, (ra, dec)), WindowFrame(BANDS, side, PIXEL_SCALE)).gather(
        0, len(rows)
    )
