"""Tables as the CDS takes them: columns of fixed width in ASCII, and a ReadMe that says which bytes are what.

Source: Standards for Astronomical Catalogues 2.0, https://cds.unistra.fr/doc/catstd.htx
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from catalogs.errors import ErrorCode, ScannerError
from catalogs.render import ascii_text

if TYPE_CHECKING:
    from astropy.table import Table

TEMPLATE = Path(__file__).with_name("ReadMe.template")
README = "ReadMe"
UNKNOWN = "?"
"""Stands for what the authors of a paper fill in."""


@dataclass(frozen=True)
class Paper:
    """What a ReadMe says of its paper: title, authors ("Surname N."), and the licence of the data (SPDX)."""

    title: str
    authors: tuple[str, ...] = ()
    licence: str = ""
    keywords: str = "gravitational lensing: strong - catalogues - surveys"


def check_installed() -> None:
    """Refuse to go on without the package of the CDS.

    Raises:
        ScannerError: ``release.not_installed``.
    """
    try:
        import cdspyreadme  # noqa: F401
    except ImportError as error:
        hint = "Install it: pip install 'unions-scanner[release]'"
        message = "The ReadMe needs the package cdspyreadme."
        raise ScannerError(ErrorCode.RELEASE_NOT_INSTALLED, message, hint) from error


def write_cds(folder: Path, tables: Mapping[str, tuple[Table, str]], paper: Paper, description: str) -> None:
    """Write each table as ``NAME.dat``, and ``ReadMe``, to a folder; each comes with a sentence of explanation.

    The folder is read back, and must hold what was written.

    Raises:
        ScannerError: ``release.not_installed``.
    """
    check_installed()
    import cdspyreadme

    maker = cdspyreadme.CDSTablesMaker(outfolder=str(folder), license=ascii_text(paper.licence))
    maker.title = ascii_text(paper.title)
    authors = [ascii_text(author) for author in paper.authors] or ["Authors " + UNKNOWN]
    maker.author, maker.authors = f"{authors[0].split()[0]}+" if len(authors) > 1 else authors[0], ", ".join(authors)
    maker.date, maker.bibcode, maker.catalogue = UNKNOWN, UNKNOWN, "J/" + UNKNOWN
    maker.keywords = paper.keywords
    maker.abstract = UNKNOWN
    maker.more_description = ascii_text(description)
    maker.setReadmeTemplate(str(TEMPLATE))
    written = {}
    for name, (table, about) in tables.items():
        written[name] = _as_cds(table)
        made = maker.addTable(written[name], name=f"{name}.dat", description=about)
        for column in table.itercols():
            if form := column.meta.get("cds"):
                made.get_column(column.name).set_format(_wide_enough(form, written[name][column.name]))
    maker.writeCDSTables()
    maker.makeReadMe()
    for name, table in written.items():
        _check(folder, name, table)


def _as_cds(table: Table) -> Table:
    """The table with blanks for what is not known: text in ASCII, and masks for NaN and empty texts."""
    from astropy.table import MaskedColumn, Table

    out = Table()
    for column in table.itercols():
        values = np.asarray(column)
        if values.dtype.kind == "U":
            values = np.array([ascii_text(text) for text in values.tolist()], str)
            mask = values == ""
        else:
            mask = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
        # A column of which nothing is known would have no width.
        if values.dtype.kind == "U" and values.dtype.itemsize == 0:
            values = values.astype("U1")
        described = {"name": column.name, "unit": column.unit, "description": column.description}
        out[column.name] = MaskedColumn(values, mask=mask, **described)
    return out


def _wide_enough(form: str, column: Table) -> str:
    """The format with a width that holds every value; a number that is cut would be another number."""
    letter, (width, digits) = form[0], map(int, form[1:].split("."))
    values = np.asarray(column[~column.mask], float)
    style = f".{digits - 1}e" if letter == "E" else f".{digits}f"
    widest = max((len(format(value, style)) for value in values.tolist()), default=width)
    return f"{letter}{max(width, widest)}.{digits}"


def _check(folder: Path, name: str, table: Table) -> None:
    """Read a table back by its ReadMe, and compare.

    Raises:
        RuntimeError: It holds something else.
    """
    from astropy.io import ascii as text_tables

    read = text_tables.read(folder / f"{name}.dat", readme=str(folder / README), format="cds")
    if read.colnames != table.colnames or len(read) != len(table):
        raise RuntimeError(f"{folder / name}.dat reads back as {read.colnames}, {len(read)} rows")
    for column in table.itercols():
        back, known = read[column.name], ~column.mask
        if (np.ma.getmaskarray(back) != column.mask).any() or back.unit != column.unit:
            raise RuntimeError(f"{column.name} of {name}.dat reads back with other blanks, or another unit")
        values, there = np.asarray(column)[known], np.asarray(back)[known]
        if column.dtype.kind == "f":
            same = np.allclose(there.astype(float), values, rtol=1e-5, atol=1e-3 if str(column.unit) != "deg" else 6e-8)
        else:
            same = np.array_equal(there.astype(str), np.char.strip(values.astype(str)))
        if not same:
            raise RuntimeError(f"{column.name} of {name}.dat reads back with other values")
