"""Ready-made cutouts to training shards: HDF5 files as unionsdata writes them.

A file holds ``cutouts`` [N, B, S, S] in counts, ``bands`` [B] (``cfis-u``, ``whigs-g``, ... or plain letters), and
optionally ``ra`` and ``dec`` [N] in degrees. The object is at pixel S // 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.images.calibration import calibrate
from scanner.survey.bands import BANDS
from scanner.survey.survey import Band, Survey, load
from training.cutouts.selection import Rule
from training.cutouts.shards import AT_ONCE, WINDOW, Shard, make_table

SAME_SCALE = 0.01
"""Largest relative difference of two pixel scales that count as equal."""


@dataclass(frozen=True)
class CutoutFileTask:
    """One HDF5 file. All its cutouts become rows of one split, except those with too little data."""

    survey: Survey
    path: Path
    window: int = WINDOW
    least_valid: float = Rule.min_valid
    split: str = "train"

    @property
    def source(self) -> str:
        return f"{self.survey.name}-cutouts"

    @property
    def name(self) -> str:
        return f"{self.source}-{self.path.stem}"

    def parts(self) -> Iterator[Shard]:
        """Read the cutouts.

        Raises:
            ScannerError: ``cutout.unreadable``, ``cutout.unknown_bands``, ``cutout.shape_mismatch``.
        """
        with _open(self.path) as file:
            bands = _bands(file, self.survey, self.path)
            ra, dec = (
                np.asarray(file[key]) if key in file else np.full(len(file["cutouts"]), np.nan) for key in ("ra", "dec")
            )
            for first in range(0, len(file["cutouts"]), AT_ONCE):
                some = slice(first, first + AT_ONCE)
                pixels = nanojansky(_middle(file["cutouts"], some, self.window), bands)
                valid = np.isfinite(pixels[:, [BANDS.index(band.name) for band in bands]]).mean(axis=(1, 2, 3))
                enough = valid >= self.least_valid
                columns = {"ra": ra[some][enough], "dec": dec[some][enough], "band_fraction": valid[enough]}
                yield Shard(
                    pixels[enough], make_table(int(enough.sum()), frame=self.path.stem, kind="object", **columns)
                )


def file_tasks(
    paths: tuple[Path, ...], survey: str, window: int = WINDOW, split: str = "train"
) -> list[CutoutFileTask]:
    """List a task for each file.

    Raises:
        ScannerError: ``shards.other_pixels`` for a survey of another pixel scale, ``cutout.same_name`` for two files of
            one name.
    """
    described = load(survey)
    if abs(described.pixel_scale / PIXEL_SCALE - 1) > SAME_SCALE:
        message = f"Pixels of {described.name} are {described.pixel_scale} arcsec wide, those of shards {PIXEL_SCALE}."
        raise ScannerError(
            ErrorCode.SHARDS_OTHER_PIXELS, message, "Cut the tiles of that survey instead: --tiles resamples them."
        )
    names = [path.stem for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise ScannerError(
                ErrorCode.CUTOUT_SAME_NAME,
                f"Two files are called {name}.",
                "Rename one of them, since shards are named after files.",
            )
    return [CutoutFileTask(described, path, window, split=split) for path in paths]


def nanojansky(counts: NDArray[Any], bands: list[Band]) -> NDArray[np.float32]:
    """Convert counts [n, len(bands), S, S] to flux float32 [n, 5, S, S] in nJy, NaN for no data.

    Besides what ``calibrate`` takes for no data, pixels that are zero in all bands are: a margin beyond the tile.
    """
    outside = (counts == 0).all(axis=1)
    flux = np.full((len(counts), len(BANDS), *counts.shape[2:]), np.nan, np.float32)
    for channel, band in enumerate(bands):
        plane = calibrate(counts[:, channel], band.zero_point, band.zero_is_missing)
        flux[:, BANDS.index(band.name)] = np.where(outside, np.nan, plane)
    return flux


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            if "cutouts" not in file or file["cutouts"].ndim != 4:
                raise ScannerError(
                    ErrorCode.CUTOUT_SHAPE_MISMATCH, f"{path} has no dataset 'cutouts' [N, bands, side, side].",
                    "Files of `unionsdata` have it.",
                )  # fmt: skip
            yield file
    except OSError as error:
        raise ScannerError(ErrorCode.CUTOUT_UNREADABLE, f"{path} cannot be read as HDF5: {error}.") from error


def _bands(file: h5py.File, survey: Survey, path: Path) -> list[Band]:
    """Find the band of each channel; a file with fewer names than channels is refused."""
    names = (
        [name.decode() if isinstance(name, bytes) else str(name) for name in file["bands"][()]]
        if "bands" in file
        else []
    )
    if len(names) != file["cutouts"].shape[1]:
        message = f"{path} names {len(names)} bands for {file['cutouts'].shape[1]} channels."
        raise ScannerError(ErrorCode.CUTOUT_UNKNOWN_BANDS, message, "Cut it again with the bands that its tile has.")
    by_name = {folder: band for band in survey.bands for folder in (band.name, *band.folders)}
    unknown = [name for name in names if name not in by_name or by_name[name].name not in BANDS]
    if unknown:
        hint = f"Name the bands as {survey.name} does: {', '.join(sorted(by_name))}."
        raise ScannerError(ErrorCode.CUTOUT_UNKNOWN_BANDS, f"{path} holds the unknown band {unknown[0]!r}.", hint)
    return [by_name[name] for name in names]


def _middle(cutouts: h5py.Dataset, some: slice, window: int) -> NDArray[np.float32]:
    """Crop the middle ``window`` pixels of some cutouts; smaller cutouts get a margin of zeros."""
    side = cutouts.shape[-1]
    if cutouts.shape[-2] != side:
        raise ScannerError(
            ErrorCode.CUTOUT_SHAPE_MISMATCH, f"Cutouts of {cutouts.shape[-2]} x {side} px are not square."
        )
    # The object is at side // 2 and has to come to window // 2.
    first = side // 2 - window // 2
    inner = slice(max(first, 0), min(first + window, side))
    part = np.asarray(cutouts[some, :, inner, inner], np.float32)
    before = max(-first, 0)
    margin = (before, window - before - part.shape[-1])
    return np.pad(part, ((0, 0), (0, 0), margin, margin))
