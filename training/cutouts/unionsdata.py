"""Cutouts that somebody else has cut: HDF5 files as unionsdata writes them, to training shards.

A file holds ``cutouts`` [N, B, S, S] in counts, ``bands`` [B] (``cfis-u``, ``whigs-g``, ... or plain letters), perhaps
``ra`` and ``dec`` [N] in degrees; the object is at pixel S // 2.
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
from training.cutouts.shards import AT_ONCE, WINDOW, Shard, rows

SAME_SCALE = 0.01


@dataclass(frozen=True)
class CutoutFileTask:
    """One HDF5 file. All its cutouts become rows of one split, less those with too little data."""

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
        """Raises ``ScannerError``: ``cutout.unreadable``, ``cutout.unknown_bands``, ``cutout.shape_mismatch``."""
        with _open(self.path) as file:
            bands = _bands(file, self.survey, self.path)
            ra, dec = (
                np.asarray(file[key]) if key in file else np.full(len(file["cutouts"]), np.nan) for key in ("ra", "dec")
            )
            for first in range(0, len(file["cutouts"]), AT_ONCE):
                some = slice(first, first + AT_ONCE)
                pixels = nanojansky(_middle(file["cutouts"], some, self.window), bands)
                valid = np.isfinite(pixels[:, [BANDS.index(band.name) for band in bands]]).mean(axis=(1, 2, 3))
                good = valid >= self.least_valid
                where = {"ra": ra[some][good], "dec": dec[some][good], "band_fraction": valid[good]}
                yield Shard(pixels[good], rows(int(good.sum()), frame=self.path.stem, kind="object", **where))


def file_tasks(
    paths: tuple[Path, ...], survey: str, window: int = WINDOW, split: str = "train"
) -> list[CutoutFileTask]:
    """A task for every file. Raises ``ScannerError`` ``shards.other_pixels`` for a survey of another pixel scale."""
    known = load(survey)
    if abs(known.pixel_scale / PIXEL_SCALE - 1) > SAME_SCALE:
        said = f"Cutouts of {known.name} have {known.pixel_scale} arcsec pixels, shards {PIXEL_SCALE}."
        raise ScannerError(
            ErrorCode.SHARDS_OTHER_PIXELS, said, "Cut the tiles of that survey instead: --tiles resamples them."
        )
    names = [path.stem for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise ScannerError(
                ErrorCode.CUTOUT_SAME_NAME, f"Two files are called {name}.", "Rename one: shards are named alike."
            )
    return [CutoutFileTask(known, path, window, split=split) for path in paths]


def nanojansky(counts: NDArray[Any], bands: list[Band]) -> NDArray[np.float32]:
    """Counts [n, len(bands), S, S] to flux float32 [n, 5, S, S] in nJy, NaN for no data.

    No data is: what is not finite, zero in a band that says so, and zero in all bands (a margin beyond the tile).
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
    """The survey's band of every channel. A file with fewer names than channels does not say which is which."""
    names = (
        [name.decode() if isinstance(name, bytes) else str(name) for name in file["bands"][()]]
        if "bands" in file
        else []
    )
    if len(names) != file["cutouts"].shape[1]:
        said = (
            f"{path} names {len(names)} bands for {file['cutouts'].shape[1]} channels: nobody can tell which is which."
        )
        raise ScannerError(ErrorCode.CUTOUT_UNKNOWN_BANDS, said, "Cut it again with the bands that its tile has.")
    known = {folder: band for band in survey.bands for folder in (band.name, *band.folders)}
    unknown = [name for name in names if name not in known or known[name].name not in BANDS]
    if unknown:
        hint = f"{survey.name} has {', '.join(sorted(known))}."
        raise ScannerError(ErrorCode.CUTOUT_UNKNOWN_BANDS, f"{path} holds the unknown band {unknown[0]!r}.", hint)
    return [known[name] for name in names]


def _middle(cutouts: h5py.Dataset, some: slice, window: int) -> NDArray[np.float32]:
    """The middle ``window`` pixels of some cutouts, with zeros around where they are smaller."""
    side = cutouts.shape[-1]
    if cutouts.shape[-2] != side:
        raise ScannerError(
            ErrorCode.CUTOUT_SHAPE_MISMATCH, f"Cutouts of {cutouts.shape[-2]} x {side} px are not square."
        )
    first = side // 2 - window // 2
    inner = slice(max(first, 0), min(first + window, side))
    part = np.asarray(cutouts[some, :, inner, inner], np.float32)
    before = max(-first, 0)
    margin = (before, window - before - part.shape[-1])
    return np.pad(part, ((0, 0), (0, 0), margin, margin))
