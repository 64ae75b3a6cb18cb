"""VOTables: every table of a file, with units and coordinate systems.

Source: VOTable 1.5, https://www.ivoa.net/documents/VOTable/
"""

from __future__ import annotations

import math
import re
from typing import IO, Any
from xml.parsers import expat

from scanner.sources.tables.columns import Choice, Column, ColumnTable, check_rows

MAX_BYTES = 2**29
"""The largest VOTable, and the most memory of its cells."""


def read_votables(file: IO[bytes], choice: Choice) -> list[ColumnTable]:
    """Read the chosen columns of every table of a VOTable.

    Raises:
        ValueError: It names data elsewhere, or is too large.
    """
    from astropy.io import votable

    _check(file)
    file.seek(0)
    content = votable.parse(file, filename="table", verify="ignore")
    systems = {one.ID: f"{one.system or ''} {one.equinox or ''}".strip() for one in content.iter_coosys()}
    tables = []
    for table in content.iter_tables():
        columns = []
        for number, field in enumerate(table.fields):
            if choice(name := field.name or field.ID):
                # A file with one system means it for all its angles; with several, they are told apart by references.
                frame = systems.get(field.ref) or " or ".join(sorted({one for one in systems.values() if one}))
                values = table.array[table.array.dtype.names[number]]
                columns.append(Column.of_array(name, values, str(field.unit or ""), frame))
        tables.append(ColumnTable(tuple(columns), tuple(field.name or field.ID for field in table.fields)))
    return tables


def read_fields(text: str) -> tuple[dict[str, str], str]:
    """The units of the fields that a VOTable without data describes, by their names, and the frame of its angles.

    Raises:
        ValueError, or ``expat.ExpatError``: It is damaged, or declares entities.
    """
    units: dict[str, str] = {}
    systems: set[str] = set()

    def start(tag: str, attributes: dict[str, str]) -> None:
        match tag.rpartition(":")[2].upper():
            case "FIELD":
                units[attributes.get("name", "")] = attributes.get("unit", "")
            case "COOSYS":
                systems.add(f"{attributes.get('system', '')} {attributes.get('equinox', '')}".strip())

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EntityDeclHandler = _refuse_entity
    parser.Parse(text, True)
    return units, " or ".join(sorted(filter(None, systems)))


def _check(file: IO[bytes]) -> None:
    """Refuse what would be read from elsewhere, and cells that take much more memory than the file.

    Raises:
        ValueError: As said.
    """
    row_bytes = cells = fields = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal row_bytes, cells, fields
        tag = tag.rpartition(":")[2].upper()
        keys = {key.rpartition(":")[2].lower(): value for key, value in attributes.items()}
        if tag == "STREAM" and "href" in keys:
            raise ValueError(f"its element STREAM names data elsewhere ({keys['href'][:200]}), which is not read")
        if tag in ("FITS", "PARQUET"):
            raise ValueError(f"its data are in the element {tag}, which is not read")
        if tag == "TABLE":
            row_bytes = cells = fields = 0
            check_rows(int(keys.get("nrows", "0")))
        elif tag in ("FIELD", "PARAM"):
            # No type is larger than 16 bytes.
            size = 16 * math.prod(map(int, re.findall(r"\d+", keys.get("arraysize", ""))))
            row_bytes, fields = row_bytes + size, fields + (tag == "FIELD")
            if row_bytes > MAX_BYTES // 512:  # astropy makes room for some hundred rows at once
                raise ValueError(f"a row takes {row_bytes} bytes by the arraysize of {keys.get('name', tag)}")
        elif tag == "TD":
            cells += 1
            if cells * row_bytes > MAX_BYTES * max(fields, 1):
                raise ValueError(f"its cells take more than {MAX_BYTES} bytes")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EntityDeclHandler = _refuse_entity
    parser.ParseFile(file)


def _refuse_entity(name: str, *_: Any) -> None:
    raise ValueError(f"it declares the entity {name}, which is not read")
