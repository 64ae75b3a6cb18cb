"""Strong lenses and candidates from the literature: positions, grades and references.

>>> from catalogs import lenses
>>> table = lenses.known(grade="confident")                                # doctest: +SKIP
>>> table["ra", "dec", "name", "zlens", "references"][:3]                  # doctest: +SKIP

``README.md`` beside this file names the sources of the list and its licence.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from catalogs.errors import ErrorCode, ScannerError

if TYPE_CHECKING:
    from astropy.table import Table

DATA = Path(__file__).parent / "known.csv.gz"
GRADES = ("confident", "probable")
LENSES = ("galaxy", "group", "cluster")
SET_APART = "cluster-catalogue"
KINDS = (*LENSES, SET_APART)

_DESCRIPTIONS = {
    "name": "Names in the literature, joined by ' | '",
    "ra": "Right ascension (ICRS)",
    "dec": "Declination (ICRS)",
    "zlens": "Redshift of the lens, the first that is given; NaN where none is",
    "zlens_all": "Every redshift given, as written, joined by ' | '",
    "kind": "galaxy, group or cluster (what the lens is); cluster-catalogue: no lens, as far as its references say",
    "grade": "confident or probable",
    "references": "Who reported it, joined by ' | '",
}


def known(grade: str | None = None, kind: str | None = None) -> Table:
    """Read the known lenses: name, ra, dec (degrees ICRS), zlens, zlens_all, kind, grade, references.

    ``grade`` is confident or probable (None: both). ``kind`` is galaxy, group or cluster (None: all three);
    ``cluster-catalogue`` gives entries that only catalogues of galaxy clusters list, which no other kind includes.

    Raises:
        ScannerError: ``lenses.bad_grade``, ``lenses.bad_kind``.
    """
    import numpy as np
    from astropy.table import Table

    text = {"converters": dict.fromkeys(("name", "zlens_all", "references"), str), "fill_values": []}
    table = Table.read(DATA, format="ascii.csv", fast_reader=False, encoding="utf-8", **text)
    table["zlens"] = np.array([float(value or "nan") for value in table["zlens"].astype(str)])
    return choose(describe(table), grade, kind)


def describe(table: Table) -> Table:
    """Give the columns of a table of lenses their descriptions and units."""
    for name, description in _DESCRIPTIONS.items():
        table[name].description = description
    table["ra"].unit = table["dec"].unit = "deg"
    return table


def choose(table: Table, grade: str | None = None, kind: str | None = None) -> Table:
    """Choose the lenses of a grade and a kind; None as ``known`` says. A row without one has no kind but a lens's.

    Raises:
        ScannerError: ``lenses.bad_grade``, ``lenses.bad_kind``.
    """
    import numpy as np

    for what, value, allowed, code in (
        ("grade", grade, GRADES, ErrorCode.LENSES_BAD_GRADE),
        ("kind", kind, KINDS, ErrorCode.LENSES_BAD_KIND),
    ):
        if value is not None and value not in allowed:
            raise ScannerError(code, f"There is no {what} {value!r}.", f"Give one of {', '.join(allowed)}.")
    is_kind = np.isin(table["kind"], (*LENSES, "") if kind is None else (kind,))
    return table[is_kind & np.isin(table["grade"], (*GRADES, "") if grade is None else (grade,))]
