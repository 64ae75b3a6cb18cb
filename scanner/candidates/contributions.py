"""Rows for the lists that others keep: seven columns for lenscat, and the fields of an upload to SLED.

Source: https://github.com/lenscat/lenscat (catalog.csv); https://github.com/gvernard/SLED_api (lenses/models/lenses.py)
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.errors import ErrorCode, ScannerError
from catalogs.lenses.lenscat import redshifts

if TYPE_CHECKING:
    from astropy.table import Table

LENSCAT = ("name", "RA [deg]", "DEC [deg]", "zlens", "type", "grading", "ref")
"""Columns of lenscat's catalog.csv."""
SLED_BEST = 3.0
"""The score of a certain lens in SLED."""
NO_VALUE = "-"
REDSHIFT = "zlens"
AGREE = 0.01
"""Redshifts that differ by at most this times (1 + z) are of one galaxy: photometric ones are hardly better."""


def lenscat_rows(candidates: Table, confident: Sequence[str], reference: str) -> str:
    """Format the candidates that no list knows yet as rows of lenscat's catalog.csv, with its head.

    ``confident`` are the grades that lenscat calls so; the others are probable. ``reference`` is that of the paper.

    Raises:
        ScannerError: ``release.bad_option`` where redshifts contradict each other.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LENSCAT)
    for row in candidates:
        if "known_as" in row.colnames and row["known_as"]:
            continue
        grading = "confident" if row["grade"] in confident else "probable"
        place = f"{row['ra']:.6f}", f"{row['dec']:.6f}"
        writer.writerow([row["name"], *place, find_redshift(row) or NO_VALUE, "galaxy", grading, reference])
    return text.getvalue()


def sled_rows(candidates: Table, best: float, info: str) -> list[dict[str, Any]]:
    """Make the candidates as a list of the fields of SLED's upload; ``mugshot`` is the name of a picture beside it.

    ``best`` is the largest value of a grade, which becomes SLED's score of 3. What is not known is left out: SLED
    takes a missing field, and would keep a made-up one.
    """
    rows = []
    for row in candidates:
        known = {"alt_name": str(row["known_as"])} if "known_as" in row.colnames and row["known_as"] else {}
        rows.append(
            {
                "name": str(row["name"]),
                "ra": round(float(row["ra"]), 6),
                "dec": round(float(row["dec"]), 6),
                "flag": "CANDIDATE",
                "score": round(float(np.clip(row["grade_mean"] / best, 0, 1)) * SLED_BEST, 4),
                "info": info,
                "mugshot": f"{file_name(str(row['name']))}.png",
                **known,
            }
        )
    return rows


def file_name(name: str) -> str:
    """Name the files of an object: its name without blanks."""
    return name.replace(" ", "_")


def find_redshift(row: Any) -> str:
    """Find the redshift of a candidate: that of its column ``zlens``, else the first of those that end in ``_zlens``.

    ``crossmatch`` writes the latter, with its prefix. The answer is "" where no column has a value.

    Raises:
        ScannerError: ``release.bad_option`` where columns that end in ``_zlens`` contradict each other.
    """
    values = {name: value for name in row.colnames if _is_redshift(name) and (value := _redshift(row[name]))}
    # A column that was named so by hand decides between those of surveys.
    chosen = [value for name, value in values.items() if name.lower() == REDSHIFT] or list(values.values())
    if not chosen:
        return ""
    if max(chosen) - min(chosen) > AGREE * (1 + min(chosen)):
        told = ", ".join(f"{name} = {value:g}" for name, value in values.items())
        hint = f"Give the right one in a column {REDSHIFT} of --add, which decides."
        message = f"The redshifts of {row['name']} contradict each other: {told}."
        raise ScannerError(ErrorCode.RELEASE_BAD_OPTION, message, hint)
    return f"{chosen[0]:g}"


def _is_redshift(name: str) -> bool:
    return name.lower() == REDSHIFT or name.lower().endswith(f"_{REDSHIFT}")


def _redshift(cell: Any) -> float | None:
    """Read a cell, which lists of lenses write as text too, such as "0.52 | 0.5245"; None for no redshift."""
    try:
        value = float(cell)
    except ValueError:
        return redshifts(str(cell))[1]
    return value if np.isfinite(value) and value > 0 else None
