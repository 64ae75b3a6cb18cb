r"""Labelled 8-bit colour pictures as cutouts of flux, as far as the making of a picture can be undone.

A picture of the SDSS kind shows i, r, g as red, green, blue; colour :math:`c` of a pixel is (Lupton et al. 2004, PASP
116, 133; the sum of the bands as intensity)

.. math:: p_c = \frac{s_c f_c}{I} \cdot \frac{\operatorname{asinh}(b I)}{b}, \quad I = \sum_c s_c f_c

with fluxes :math:`f` in nanomaggies, so :math:`I = \sinh(b \sum p) / b` and :math:`f_c = I p_c / (s_c \sum p)`. Clipped
pixels, JPEG noise and the negative half of the background are lost. Pictures of other surveys were made in other ways
and of other bands (UKIDSS: near infrared): for them this is a monotone function of the pixels, not their flux. Angular
size is lost too, since pictures are scaled to their galaxy: the whole picture is averaged down to the cutout.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.survey.bands import BANDS

SCALES = np.array([4.9, 5.7, 7.8])  # of i, r, g in nanomaggies per pixel, as in the colour images of the SDSS
NONLINEARITY = 2.25
SDSS_SCALE = 0.396  # arcsec
NANOMAGGY = 3631.0  # nJy
COLOURS = [BANDS.index(band) for band in "irg"]
LEAST = 8  # pictures that an answer needs

Flux = NDArray[np.float32]


@dataclass(frozen=True)
class Pictures:
    """``flux`` [N, 5, S, S] in nJy, u and z NaN; ``label`` [N]."""

    name: str
    flux: Flux
    label: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.flux)


@dataclass(frozen=True)
class Questions:
    """Pictures by ``survey``, with the ``question`` about each and the experts' ``answer``, all [N]."""

    name: str
    flux: Flux
    survey: NDArray[np.str_]
    question: NDArray[np.str_]
    answer: NDArray[np.str_]

    def rows_by_question(self) -> dict[str, NDArray[np.intp]]:
        """Find the rows with common answers of each question that has at least two of them."""
        rows_by_question = {}
        for question in sorted(set(self.question)):
            rows = np.flatnonzero(self.question == question)
            answers, counts = np.unique(self.answer[rows], return_counts=True)
            common = answers[counts >= LEAST]
            if len(common) > 1:
                rows_by_question[question] = rows[np.isin(self.answer[rows], common)]
        return rows_by_question


def galaxies(data: Path, side: int) -> Pictures:
    """Read galaxies, and stars, blends and artefacts, of ``labelled/galaxy_nongalaxy``."""
    folder = data / "labelled" / "galaxy_nongalaxy"
    rows = _rows(folder)
    return Pictures("galaxy or not", windows(_paths(folder, rows), side), np.array([row["label"] for row in rows]))


def questions(data: Path, side: int) -> Questions:
    """Read experts' answers to the questions of Galaxy Zoo, of ``labelled/galaxyzoo_question_answer_examples``."""
    folder = data / "labelled" / "galaxyzoo_question_answer_examples"
    rows = [row for row in _rows(folder) if row["answer"]]
    for row in rows:
        # Some questions occur in two spellings.
        row["question"] = row["question"].replace("center", "centre")
    columns = (np.array([row[name] for row in rows]) for name in ("survey", "question", "answer"))
    return Questions("galaxy zoo", windows(_paths(folder, rows), side), *columns)


def windows(paths: Iterable[Path], side: int) -> Flux:
    """Read pictures as flux [N, 5, side, side] in nJy for each pixel of the development tiles; u and z are NaN."""
    flux = []
    for path in paths:
        with Image.open(path) as picture:
            planes = surface_brightness(np.asarray(picture.convert("RGB")))
        window = np.full((len(BANDS), side, side), np.nan, np.float32)
        window[COLOURS] = [_resized(plane, side) for plane in planes]
        # From nJy per square arcsec to nJy per pixel.
        flux.append(window * np.float32(PIXEL_SCALE**2))
    return np.stack(flux)


def surface_brightness(picture: NDArray[np.uint8]) -> Flux:
    """Convert bytes [H, W, 3] to nJy per square arcsec [3, H, W] of i, r, g."""
    colour = picture.astype(np.float64) / 255
    total = colour.sum(axis=-1, keepdims=True)
    # The inverse of the asinh stretch; the colour of a pixel is kept.
    intensity = np.sinh(NONLINEARITY * total) / NONLINEARITY
    nanomaggies = intensity * colour / np.maximum(total, 1e-9) / SCALES
    return np.moveaxis(nanomaggies * NANOMAGGY / SDSS_SCALE**2, -1, 0).astype(np.float32)


def _resized(plane: Flux, side: int) -> Flux:
    """Scale the middle square of a plane, averaged over the area of each new pixel."""
    height, width = plane.shape
    edge = min(height, width)
    left, top = (width - edge) / 2, (height - edge) / 2
    box = (left, top, left + edge, top + edge)
    return np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BOX, box), np.float32)


def _paths(folder: Path, rows: list[dict[str, str]]) -> list[Path]:
    return [folder / row["file"] for row in rows]


def _rows(folder: Path) -> list[dict[str, str]]:
    path = folder / "labels.csv"
    if not path.is_file():
        hint = "Give --data the folder of development data, or --tasks without those on pictures."
        raise ScannerError(ErrorCode.EVALUATE_NO_DATA, f"There is no file {path}.", hint)
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))
