"""Columns of released tables: unit, UCD, description and the format of the CDS for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.table import Table


@dataclass(frozen=True)
class ReleaseColumn:
    """One column; ``format`` is that of Fortran (``F10.6``), "" for text and integers, whose width the values give."""

    name: str
    unit: str
    ucd: str
    description: str
    format: str = ""


NAME = ReleaseColumn("name", "", "meta.id;meta.main", "Name by position (IAU style, truncated)")
RA = ReleaseColumn("ra", "deg", "pos.eq.ra;meta.main", "Right ascension (ICRS)", "F11.7")
DEC = ReleaseColumn("dec", "deg", "pos.eq.dec;meta.main", "Declination (ICRS)", "F11.7")
SYSTEM = ReleaseColumn("system", "", "meta.id.parent", "Candidate within 3 arcsec, of which it is a piece, or itself")
GRADE = ReleaseColumn("grade", "", "meta.code.class", "Grade: that of grade_mean, or of the chair")
FINAL = ReleaseColumn("final_grade", "", "meta.code.class", "Final grade of the chair, where one was given")
MEAN = ReleaseColumn("grade_mean", "", "meta.code.class;stat.mean", "Mean value of the grades", "F6.3")
ERROR = ReleaseColumn("grade_error", "", "stat.error", "Standard error of grade_mean", "F6.3")
COUNT = ReleaseColumn("grade_count", "", "meta.number", "Number of grades")
GRADES = ReleaseColumn("grades", "", "meta.code.class", "The grades of all inspectors, in their order, - for none")
TRIAGE = ReleaseColumn("triage", "", "meta.code.class", "The words of triage of all inspectors, - for none")
CLASSES = ReleaseColumn("classes", "", "meta.code.class", "Kinds of false positive that inspectors named")
TRUTH = ReleaseColumn("truth", "", "meta.code.class", "Known before the inspection, to test it: lens, or dud for none")
KNOWN = ReleaseColumn("known_as", "", "meta.id.assoc", "Known lens within 3 arcsec")
OBJECT = ReleaseColumn("object_id", "", "meta.id", "Number of the object in the catalogue")
TILE = ReleaseColumn("tile", "", "meta.id;obs.field", "Name of the survey tile")
INSPECTOR = ReleaseColumn(
    "inspector", "", "meta.id;obs.observer", "Number of the inspector, or the name if it is given"
)
STAGE = ReleaseColumn("stage", "", "meta.code", "triage (mosaic), grades (one by one), final (of a chair)")
VERDICT = ReleaseColumn("verdict", "", "meta.code.class", "The verdict")
VALUE = ReleaseColumn("value", "", "meta.code.class", "Value of the grade in a mean", "F6.3")
CLASS = ReleaseColumn("class", "", "meta.code.class", "Kind of false positive")
TIME = ReleaseColumn("time", "", "time.epoch", "When it was given (UTC, ISO 8601)")

ANSWER = frozenset(
    {"query", "rank", "score", "probability", "similarity", "distance", "rarer_than", "suspect", "known", "known_as",
     "mark", "nearest_example", "nearest_id", "separation"}
)  # fmt: skip
"""Columns that an answer or a ranking adds to those of the catalogue."""
_FORMATS = {"mag": "F8.4", "deg": "F11.7", "nJy": "E12.6", "arcsec": "F8.4", "": "F9.4"}


def of_catalogue(name: str, bands: Sequence[str], score: str | None = None) -> ReleaseColumn | None:
    """Describe a column of the catalogue as its schema does; None for one that a release leaves out."""
    from catalogs.store.schema import catalogue_schema
    from catalogs.store.voparquet import facts

    if name.startswith("score_"):
        kind = name.removeprefix("score_")
        about = f"Natural log-odds of the class {kind} by the model" + (f", {score}" if score else "")
        return ReleaseColumn(name, "", "stat.likelihood;src.class", about, "F9.4")
    schema = catalogue_schema(bands, 1)
    repeated = name in ("flux_radius", "snr", "valid_fraction", "bands_present") or name.startswith("mag_")
    if name not in schema.names or not repeated:
        return None
    told = facts(schema.field(name))
    unit = told.get("unit", "")
    if name.startswith("mag_"):
        # The fluxes are not repeated, so a magnitude says itself which flux it is.
        flux = facts(schema.field(f"flux_{name.removeprefix('mag_')}"))["description"]
        return ReleaseColumn(
            name, unit, told["ucd"], f"AB magnitude of the {flux[0].lower()}{flux[1:]}", _FORMATS[unit]
        )
    form = "" if name == "bands_present" else _FORMATS[unit]
    # In fixed-width text what is not known is blank.
    return ReleaseColumn(name, unit, told["ucd"], told["description"].partition(", NaN")[0], form)


def magnitude_error(name: str, bands: Sequence[str]) -> ReleaseColumn:
    """Describe the error of a column of magnitudes."""
    magnitude = of_catalogue(name, bands)
    assert magnitude is not None
    about = f"Error of {name}, from that of its flux"
    return ReleaseColumn(f"magerr_{name.removeprefix('mag_')}", "mag", f"stat.error;{magnitude.ucd}", about, "F8.4")


def add(table: Table, column: ReleaseColumn, values: Any) -> None:
    """Add a column with its unit, description, and UCD and format in ``meta``."""
    from astropy.table import Column

    meta = {"ucd": column.ucd, "cds": column.format}
    table[column.name] = Column(np.asarray(values), unit=column.unit or None, description=column.description, meta=meta)
