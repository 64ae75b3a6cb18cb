"""Answers as text or bytes, in the formats that people and programs read.

``table`` is for people, with units; ``csv`` and ``json`` are plain; ``ecsv``, ``votable`` and ``fits`` have units, the
last two UCDs as well; ``ds9`` is a region file. Embeddings are written where arrays fit: ecsv, json, votable, fits.
Text may hold what a format cannot: a control character in all but JSON, a letter beyond ASCII in FITS. It is written as
an escape of Python: ``\\n``, ``\\xe9``.
The commands import ``FORMATS`` for their help, so numpy and pyarrow are imported only when a table is rendered.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from catalogs.errors import ErrorCode, ScannerError

if TYPE_CHECKING:
    from astropy.table import Table

_FOR_PEOPLE = (
    "rank", "score", "probability", "similarity", "distance", "rarer_than", "suspect", "separation", "object_id",
    "name", "tile", "ra", "dec", "mag_auto", "snr", "bands_present", "is_primary", "known", "mark", "nearest_example",
    "zlens", "kind", "grade",
)  # fmt: skip
_LONGEST_CARD = 68
"""Letters of a text in a FITS header."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
"""Characters that end a line, that XML or UTF-8 do not have, or that change a terminal."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_BEYOND_ASCII = re.compile("[^ -~]")
_DIGITS = {"ra": ".6f", "dec": ".6f", "similarity": ".4f", "separation": ".2f", "snr": ".1f", "valid_fraction": ".2f"}


def render(table: Table, fmt: str) -> str | bytes:
    """Render ``table`` as text (``fits``: as bytes), with all columns that the format can hold; ``table`` has a few.

    Raises:
        ScannerError: ``format.unknown``, whose hint lists the formats.
    """
    from catalogs.store.schema import EMBEDDING

    if fmt not in _WRITERS:
        hint = f"Choose one of {', '.join(FORMATS)}."
        raise ScannerError(ErrorCode.FORMAT_UNKNOWN, f"There is no format {fmt!r}.", hint)
    names = [name for name in table.colnames if name != EMBEDDING or fmt not in _FLAT]
    if fmt == "table":
        names = [name for name in _FOR_PEOPLE if name in table.colnames] or list(table.colnames)
    part = table[names]
    # Some formats would write ``meta`` into the file.
    part.meta = {}
    _escape(part, {"fits": _BEYOND_ASCII, "json": _SURROGATE}.get(fmt, _CONTROL))
    return _WRITERS[fmt](part)


def readable(text: str) -> str:
    """The text of a file name whose bytes Python could not decode: as UTF-8, in every locale, with escapes."""
    try:
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()


def ascii_text(text: str) -> str:
    """The text in printable ASCII; other characters as escapes of Python."""
    return _escaped(text, _BEYOND_ASCII)


def _escape(table: Table, unwritable: re.Pattern[str]) -> None:
    """Write the characters ``unwritable`` of the table's text as escapes."""
    import numpy as np

    for column in list(table.itercols()):
        if column.dtype.kind == "U" and any(map(unwritable.search, column)):
            texts = np.array([_escaped(text, unwritable) for text in column])
            # A copy keeps the description and the UCD.
            table.replace_column(column.name, column.copy(data=texts))


def _escaped(text: str, unwritable: re.Pattern[str]) -> str:
    text = readable(text) if _SURROGATE.search(text) else text
    return unwritable.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _human(table: Table) -> str:
    for column in table.itercols():
        if column.dtype.kind == "f":
            column.format = _DIGITS.get(column.name, ".3f" if column.dtype == "float32" else ".6f")
    lines = table.pformat(max_lines=-1, max_width=-1, show_unit=True)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _csv(table: Table) -> str:
    for name in table.colnames:
        # The shortest decimals of a float32: those of its float64 would trail noise.
        if table[name].dtype == "float32":
            table[name] = [str(value) for value in table[name]]
    return _write_ascii(table, "ascii.csv", strip_whitespace=False)


def _ecsv(table: Table) -> str:
    return _write_ascii(table, "ascii.ecsv")


def _json(table: Table) -> str:
    columns = {name: _plain(table[name]) for name in table.colnames}
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json.dumps(records, indent=1, allow_nan=False) + "\n"


def _votable(table: Table) -> str:
    from astropy.io.votable import from_table, writeto
    from astropy.io.votable.tree import CooSys, Field

    from catalogs.store.schema import EMBEDDING

    document = from_table(table)
    fields = document.get_first_table().fields
    for number, field in enumerate(fields):
        # Astropy writes bool as bit, which STILTS reads as an array and refuses.
        if field.datatype == "bit":
            fields[number] = Field(document, ID=field.ID, name=field.name, datatype="boolean")
            fields[number].description = field.description
        fields[number].ucd = table[field.name].meta.get("ucd")
        # All positions are ICRS.
        if str(fields[number].ucd or "").startswith("pos.eq."):
            fields[number].ref = "icrs"
    if any(field.ref for field in fields):
        document.resources[0].coordinate_systems.append(CooSys(ID="icrs", system="ICRS"))
    buffer = io.BytesIO()
    # An embedding as text takes more than twice its bytes in binary.
    writeto(document, buffer, tabledata_format="binary2" if EMBEDDING in table.colnames else "tabledata")
    return buffer.getvalue().decode()


def _fits(table: Table) -> bytes:
    from astropy.io import fits

    buffer, rows = io.BytesIO(), fits.table_to_hdu(table)
    # The keywords by which TOPCAT and STILTS read and write descriptions and UCDs.
    for number, name in enumerate(table.colnames, 1):
        texts = {"TCOMM": table[name].description, "TUCD": table[name].meta.get("ucd")}
        cards = {key: _escaped(text, _BEYOND_ASCII)[:_LONGEST_CARD] for key, text in texts.items() if text}
        rows.header.update({f"{key}{number}": text for key, text in cards.items()})
    fits.HDUList([fits.PrimaryHDU(), rows]).writeto(buffer)
    return buffer.getvalue()


def _ds9(table: Table) -> str:
    # Positions are in degrees, and the circles have a radius of 2 arcsec.
    lines = ["# Region file format: DS9 version 4.1", "global color=green width=1", "icrs"]
    for row in table:
        lines.append(f'circle({row["ra"]:.7f},{row["dec"]:.7f},2.0") # text={{{_label(row, table.colnames)}}}')
    return "\n".join(lines) + "\n"


def _label(row: Any, names: Sequence[str]) -> str:
    if "rank" in names and "similarity" in names:
        return f"{row['rank']}: {row['similarity']:.3f}"
    label = str(next((row[name] for name in ("object_id", "name") if name in names), ""))
    # Braces are the quotes of the label.
    return label.replace("{", "(").replace("}", ")")


def _write_ascii(table: Table, astropy_format: str, **options: bool) -> str:
    buffer = io.StringIO()
    table.write(buffer, format=astropy_format, **options)
    return buffer.getvalue()


def _plain(column: Any) -> Any:
    """Values of a column as JSON has them, in the fewest decimals that give back the float; null if not finite."""
    import numpy as np

    values = np.asarray(column)
    if values.dtype.kind != "f":
        return values.tolist()
    if values.ndim > 1:
        return [_plain(row) for row in values]
    return [float(str(value)) if np.isfinite(value) else None for value in values]


_FLAT = ("csv", "ds9", "table")
_WRITERS: dict[str, Callable[[Any], str | bytes]] = {
    "table": _human,
    "csv": _csv,
    "ecsv": _ecsv,
    "json": _json,
    "votable": _votable,
    "fits": _fits,
    "ds9": _ds9,
}
FORMATS = tuple(_WRITERS)
"""Formats of rows. The first is the default of the commands, here and below."""
REPORT_FORMATS, FACT_FORMATS = ("text", "json"), ("table", "json")
"""Formats of what a command reports, and of facts about a catalogue or a model."""
