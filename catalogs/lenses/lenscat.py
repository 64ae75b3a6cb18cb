"""lenscat's ``catalog.csv``, of any version, as lenses: https://github.com/lenscat/lenscat.

Redshifts are read out of their cells and references brought to one form. Rows within ``SAME_LENS`` of each other are
merged: every name, redshift and reference is kept, and the best grade wins. Entries that only catalogues of galaxy
clusters report are set apart, and right ascensions that lost their hours are restored.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from catalogs.errors import ErrorCode, ScannerError
from catalogs.lenses import GRADES, LENSES, SET_APART, describe
from catalogs.sky import geometry

if TYPE_CHECKING:
    from astropy.table import Table

SAME_LENS = 3.0 / 3600
"""Degrees. Of 119 pairs of rows within 3 arcsec most are within 0.5; from 2.5 to 5 there are 8, fewest of all."""

CLUSTER_CATALOGUES = frozenset(
    {
        "doi:10.1086/423038",  # Lopes+04, Northern Sky optical Cluster Survey: 9,955 rows "galaxy, probable"
        "arXiv:astro-ph/0106055",  # Gonzalez+01, Las Campanas Distant Cluster Survey
        "doi:10.1086/191426",  # Gioia+90, Einstein Medium Sensitivity Survey
        "arXiv:astro-ph/0405546",  # Böhringer+04, REFLEX
        "arXiv:astro-ph/0003219",  # Böhringer+00, NORAS
        "arXiv:astro-ph/0403354",  # Popesso+04, RASS-SDSS
        "arXiv:astro-ph/9812394",  # Ebeling+98, BCS
        "arXiv:astro-ph/0003191",  # Ebeling+00, extended BCS
        "arXiv:astro-ph/0411075",  # Gladders+05, Red-Sequence Cluster Survey
        "arXiv:astro-ph/0609815",  # Olsen+07, CFHTLS matched filter: its 60 "confident" are grade A clusters
        "arXiv:astro-ph/0607170",  # Pierre+06, XMM-LSS
        "arXiv:astro-ph/0608624",  # van Breukelen+06, UKIDSS UDS
        "arXiv:1002.2226",  # Menanteau+10, Southern Cosmology Survey
    }
)
"""Identifiers of references whose rows are galaxy clusters, with no lens claimed row by row."""

_NUMBER = re.compile(r"[0-9]*[.]?[0-9]+")
_PROPER = tuple(
    (re.compile(wrong), right)
    for wrong, right in (
        (r"https?://arxiv[.]org/(?:abs/|ftp/arxiv/papers/\d+/)(\S+?)(?:[.]pdf)?$", r"arXiv:\1"),
        (r"arXiv:(0[456]\d{5})$", r"arXiv:astro-ph/\1"),
        (r'B\\"ohringer', "Böhringer"),
        (r"F\\'eron", "Féron"),
    )
)
_EMPTY = ("", "-", "nan")


@dataclass(frozen=True)
class Lens:
    """One lens: position in degrees, redshift (None if not known), and fields that may have several values."""

    names: tuple[str, ...]
    ra: float
    dec: float
    zlens: float | None
    zlens_all: tuple[str, ...]
    kind: str
    grade: str
    references: tuple[str, ...]


HEAD = ("name", "RA [deg]", "DEC [deg]", "zlens", "type", "grading", "ref")
"""Columns of lenscat's table."""


def is_lenscat(source: Path) -> bool:
    """Tell by its first line whether a file is lenscat's table, gzipped or not."""
    with source.open("rb") as file:
        data = file.read(4096)
    if data[:2] == b"\x1f\x8b":
        with gzip.open(source, "rb") as packed:
            data = packed.read(4096)
    first = data.decode("utf-8-sig", "replace").partition("\n")[0].strip()
    return set(HEAD) <= {name.strip(' "') for name in first.split(",")}


def read(source: Path) -> list[Lens]:
    """Read the rows of lenscat's table; raises ``lenses.bad_source``."""
    data = source.read_bytes()
    # 1f 8b are the first bytes of any gzip file.
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    try:
        return [_lens(row) for row in csv.DictReader(io.StringIO(text))]
    except (KeyError, ValueError) as error:
        message = f"{source} is not the catalog.csv of lenscat ({error!r})."
        raise ScannerError(
            ErrorCode.LENSES_BAD_SOURCE, message, "It is in the wheel: lenscat/data/catalog.csv."
        ) from error


def to_table(lenses: Sequence[Lens]) -> Table:
    """Make a table of lenses, with the columns of ``lenses.known``."""
    from astropy.table import Table

    columns = {
        "name": [" | ".join(one.names) for one in lenses],
        "ra": [one.ra for one in lenses],
        "dec": [one.dec for one in lenses],
        "zlens": [np.nan if one.zlens is None else one.zlens for one in lenses],
        "zlens_all": [" | ".join(one.zlens_all) for one in lenses],
        "kind": [one.kind for one in lenses],
        "grade": [one.grade for one in lenses],
        "references": [" | ".join(one.references) for one in lenses],
    }
    kinds = {"ra": float, "dec": float, "zlens": float}
    return describe(Table({name: np.array(values, kinds.get(name, str)) for name, values in columns.items()}))


def merged(rows: Sequence[Lens]) -> list[Lens]:
    """Merge rows within ``SAME_LENS`` of each other, or of a common one, into one lens; sorted by right ascension."""
    group = np.arange(len(rows))
    ra, dec = np.array([row.ra for row in rows]), np.array([row.dec for row in rows])
    for one, other in geometry.close_pairs(ra, dec, SAME_LENS):
        # A pair joins the groups of its two rows, so that chains of near rows become one lens.
        group[group == group[other]] = group[one]
    members: dict[int, list[Lens]] = {}
    for row, number in zip(rows, group.tolist(), strict=True):
        members.setdefault(number, []).append(row)
    return sorted((_one(same) for same in members.values()), key=lambda lens: (lens.ra, lens.dec))


def redshifts(cell: str) -> tuple[tuple[str, ...], float | None]:
    """Parse a cell such as ``0.52 | 0.5245``, ``0.3?``, ``-``, ``nan``: its redshifts as written, and the first one.

    Zero is no redshift of a lens; an uncertain number (``?``, ``*``) counts if no other is given.
    """
    written = _unique(part for part in _split(cell) if _redshift(part) is not None)
    # False comes before True, so the first certain number wins, or else the first of all.
    first = min(written, key=lambda part: part[-1] in "?*" or " " in part, default="")
    return written, _redshift(first)


def _redshift(text: str) -> float | None:
    number = _NUMBER.match(text)
    return float(number[0]) if number and float(number[0]) > 0 else None


def references(cell: str) -> tuple[str, ...]:
    """Parse the references of a cell, each once, an arXiv page as ``arXiv:<number>``; one with authors is preferred."""
    texts: dict[str, str] = {}
    # Some cells separate references by a space only, so each address begins a new one.
    for text in _split(re.sub(r"\s(?=https?://)", " | ", cell)):
        for pattern, proper in _PROPER:
            text = pattern.sub(proper, text)
        key = identifier(text)
        # The longer form is the one with authors.
        texts[key] = max(texts.get(key, ""), text, key=len)
    return tuple(texts.values())


def identifier(reference: str) -> str:
    """Extract ``arXiv:…``, ``doi:…``, or the end of a reference."""
    return reference.rsplit(" - ", 1)[-1]


def _lens(row: Mapping[str, str]) -> Lens:
    written, zlens = redshifts(row["zlens"])
    ra, dec = float(row["RA [deg]"]), float(row["DEC [deg]"])
    if row["type"] not in LENSES or row["grading"] not in GRADES or not (0 <= ra <= 360 and -90 <= dec <= 90):
        raise ValueError(row)
    names = _unique(part for part in _split(row["name"]) if part not in _EMPTY)
    cited = references(row["ref"])
    ra, dec = restored(" ".join(names), ra, dec, identifier(cited[0]))
    return Lens(names, ra, dec, zlens, written, row["type"], row["grading"], cited)


def _one(same: Sequence[Lens]) -> Lens:
    """Merge the rows of one lens.

    Position, kind and redshift are those of the surest row outside cluster catalogues. A lens that only those report is
    set apart.
    """
    order = sorted(same, key=lambda lens: (_apart(lens), GRADES.index(lens.grade)))
    best = order[0]
    cited = references(" | ".join(one for lens in order for one in lens.references))
    return replace(
        best,
        names=_unique(name for lens in order for name in lens.names),
        zlens=next((lens.zlens for lens in order if lens.zlens is not None), None),
        zlens_all=_unique(text for lens in order for text in lens.zlens_all),
        kind=SET_APART if _apart(best) else best.kind,
        references=cited,
    )


def _apart(lens: Lens) -> bool:
    return all(identifier(one) in CLUSTER_CATALOGUES for one in lens.references)


def _split(cell: str) -> Iterator[str]:
    return (part.strip() for part in cell.split("|") if part.strip())


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


HOURS_LOST = ("arXiv:2205.05307", "https://web.physics.ucsb.edu/~tt/LSD/")
"""References whose rows lost the hours of their right ascension (AGEL, Tran+22; LSD)."""

DEGREES_LOST = ("arXiv:2205.05307",)

_IN_NAME = re.compile(r"(?<![0-9])(\d\d)(\d\d)(\d\d)?([+-])(\d\d)(\d\d?)")

HOUR = 15.0


def restored(name: str, ra: float, dec: float, reference: str) -> tuple[float, float]:
    """Restore the hours (and degrees) that the source of a position lost; other sources are unchanged.

    The fraction is exact: the name only gives the whole hours and degrees to add, for which B1950 names suffice.
    """
    match = _IN_NAME.search(name)
    if reference not in HOURS_LOST or match is None or ra >= HOUR:
        return ra, dec
    hours, minutes, seconds, sign, degrees, arcminutes = match.groups()
    named_ra = HOUR * (int(hours) + int(minutes) / 60 + int(seconds or 0) / 3600)
    ra = (ra + HOUR * round((named_ra - ra) / HOUR)) % 360
    if reference in DEGREES_LOST and 0 <= dec < 1 and sign == "+":
        dec += round(int(degrees) + int(arcminutes) / 60 - dec)
    return round(ra, 6), dec
