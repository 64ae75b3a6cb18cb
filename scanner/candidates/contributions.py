"""Rows for the lists that others keep: seven columns for lenscat, and the fields of an upload to SLED.

Source: https://github.com/lenscat/lenscat (catalog.csv); https://github.com/gvernard/SLED_api (lenses/models/lenses.py)
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.table import Table

LENSCAT = ("name", "RA [deg]", "DEC [deg]", "zlens", "type", "grading", "ref")
"""Columns of lenscat's catalog.csv."""
SLED_BEST = 3.0
"""The score of a certain lens in SLED."""
NO_VALUE = "-"


def lenscat_rows(candidates: Table, confident: Sequence[str], reference: str) -> str:
    """Format the candidates that no list knows yet as rows of lenscat's catalog.csv, with its head.

    ``confident`` are the grades that lenscat calls so; the others are probable. ``reference`` is that of the paper.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LENSCAT)
    for row in candidates:
        if "known_as" in row.colnames and row["known_as"]:
            continue
        grading = "confident" if row["grade"] in confident else "probable"
        place = f"{row['ra']:.6f}", f"{row['dec']:.6f}"
        writer.writerow([row["name"], *place, _redshift(row, "zlens") or NO_VALUE, "galaxy", grading, reference])
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


def _redshift(row: Any, column: str) -> str:
    if column not in row.colnames or not np.isfinite(float(row[column])) or float(row[column]) <= 0:
        return ""
    return f"{float(row[column]):g}"
