"""The gallery: candidates by grade with their names, as the figure of a paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.names import iau_name
from scanner.figures.gallery import Panel, draw_gallery
from scanner.hunt.round import CUT, Round
from scanner.inspection.consensus import Consensus
from scanner.windows.by_position import Window


def draw_grades(consensus: Consensus, path: Path, grades: Sequence[str] = (), band_names: bool = False) -> int:
    """Draw the objects of some grades (by default those that the scheme keeps), the best first; returns their number.

    Each grade begins a line. Under a cutout stand the name and the mean grade with its error.

    Raises:
        ScannerError: ``inspect.no_truth`` where no object has one of the grades, ``hunt.bad_verdict`` for an unknown
            grade, ``figure.unknown_format``, ``output.*``.
    """
    scheme = consensus.scheme
    unknown = [one for one in grades if scheme.stage(one) != "grades"]
    if unknown:
        hint = f"Grades: {', '.join(one.name for one in scheme.grades)}."
        raise ScannerError(ErrorCode.HUNT_BAD_VERDICT, f"The scheme has no grade {unknown[0]!r}.", hint)
    chosen = tuple(grades) or tuple(one.name for one in scheme.grades if one.mark == "kept")
    groups = [group for grade in chosen if (group := consensus.by_grade(grade))]
    if not groups:
        message = f"No object has a grade {' or '.join(chosen)} yet."
        raise ScannerError(ErrorCode.INSPECT_NO_TRUTH, message, "Grade more objects, or choose others with --grade.")
    rows = [[_panel(consensus, index) for index in group] for group in groups]
    first, _ = consensus.plan.place(groups[0][0])
    draw_gallery(rows, first.frame, path, band_names=band_names)
    return sum(map(len, groups))


def read_flux(round_: Round, number: int) -> NDArray[np.float32] | None:
    """Read a cutout [B, S, S] in nJy from a round; None where it has no pixels, or is not cut yet."""
    if round_.states[number] != CUT:
        return None
    bands, side = len(round_.record.bands), round_.record.window
    packed = round_.window(np.array([number]))
    scale = np.frombuffer(packed, "<f4", bands)
    pixels = np.frombuffer(packed, "<f2", offset=4 * bands).reshape(bands, side, side)
    return np.asarray(pixels.astype(np.float32) * scale[:, None, None])


def describe_grade(consensus: Consensus, index: int) -> str:
    """Write the grade of an object and its mean with the error, such as ``A   2.83 ± 0.17``."""
    mean, error = consensus.mean[index], consensus.error[index]
    if math.isnan(mean):
        return consensus.grade(index)
    return f"{consensus.grade(index)}   {mean:.2f}" + ("" if math.isnan(error) else f" \N{PLUS-MINUS SIGN} {error:.2f}")


def _panel(consensus: Consensus, index: int) -> Panel:
    plan = consensus.plan
    flux = read_flux(*plan.place(index))
    name = iau_name(float(plan.ra[index]), float(plan.dec[index]))
    return Panel(None if flux is None else Window(flux), (name, describe_grade(consensus, index)))
