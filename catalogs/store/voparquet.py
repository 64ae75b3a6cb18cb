"""Units, UCDs and descriptions in a Parquet footer, in the two forms that astronomical software reads.

VOParquet (IVOA note "Parquet in the VO" 1.0), a VOTable header without data: TOPCAT, STILTS, and astropy's
``Table.read(path, format="parquet.votable")``. And astropy's own keys, so that a plain ``Table.read(path)`` has units.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow as pa

_DATATYPES = {"int32": "int", "int64": "long", "float": "float", "double": "double", "bool": "boolean"}
_NAMES = {"float": "float32", "double": "float64"}


def metadata(schema: pa.Schema, widths: Mapping[str, int]) -> dict[str, str]:
    """Make the footer entries that describe the columns; ``widths`` has the longest value of each string column."""
    return {
        "IVOA.VOTable-Parquet.version": "1.0",
        "IVOA.VOTable-Parquet.content": _votable(schema, widths),
        "table_meta_yaml": json.dumps({"datatype": [_astropy(field) for field in schema]}),
        **{f"table::len::{name}": str(width) for name, width in widths.items()},
    }


def facts(field: pa.Field) -> dict[str, str]:
    """Return the ``unit``, ``ucd`` and ``description`` of a column, if it has them."""
    return {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}


def _votable(schema: pa.Schema, widths: Mapping[str, int]) -> str:
    fields = "".join(_votable_field(field, widths) for field in schema)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results"><TABLE>'
        f'{fields}<PARQUET type="Parquet-local-XML"/></TABLE></RESOURCE></VOTABLE>'
    )


def _votable_field(field: pa.Field, widths: Mapping[str, int]) -> str:
    # Imported here because it loads an HTTP client, which no reader of a catalogue needs.
    from xml.sax.saxutils import escape, quoteattr

    about = facts(field)
    attributes = {"name": field.name, **_votable_type(field, widths)}
    attributes |= {key: about[key] for key in ("unit", "ucd") if key in about}
    written = " ".join(f"{key}={quoteattr(value)}" for key, value in attributes.items())
    return f"<FIELD {written}><DESCRIPTION>{escape(about.get('description', ''))}</DESCRIPTION></FIELD>"


def _votable_type(field: pa.Field, widths: Mapping[str, int]) -> dict[str, str]:
    if pa.types.is_fixed_size_list(field.type):
        return {"datatype": _DATATYPES[str(field.type.value_type)], "arraysize": str(field.type.list_size)}
    # Text has a fixed size, because astropy cannot stack "*" on the Parquet column.
    if pa.types.is_string(field.type):
        return {"datatype": "unicodeChar", "arraysize": str(widths[field.name])}
    return {"datatype": _DATATYPES[str(field.type)]}


def _astropy(field: pa.Field) -> dict[str, str]:
    kind = field.type.value_type if pa.types.is_fixed_size_list(field.type) else field.type
    about = {key: value for key, value in facts(field).items() if key in ("unit", "description")}
    return {"name": field.name, "datatype": _NAMES.get(str(kind), str(kind)), **about}
