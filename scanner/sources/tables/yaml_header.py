"""The YAML that astropy writes into ECSV and Parquet files: names and units of columns, and the frame of the sky.

Source: Astropy Proposal for Enhancement 6 (ECSV), https://github.com/astropy/astropy-APEs/blob/main/APE6.rst
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class YamlHeader:
    """The ``columns`` of a table with their units, the separator of its rows, and the frame that its metadata say."""

    columns: tuple[tuple[str, str], ...]
    delimiter: str
    frame: str


def read_yaml_header(text: str) -> YamlHeader:
    """Read a header.

    Raises:
        ValueError: It is not one.
    """
    import yaml

    # The nodes alone: no object is made of them, and no alias is expanded.
    header = dict(_items(yaml.compose(text, yaml.SafeLoader)))
    described = [dict(_items(column)) for column in getattr(header.get("datatype"), "value", ())]
    columns = tuple((_scalar(one.get("name")), _unit(one.get("unit"))) for one in described)
    if not columns:
        raise ValueError("its YAML header names no columns")
    cards = {name.upper(): _scalar(value) for name, value in _items(header.get("meta"))}
    return YamlHeader(columns, _scalar(header.get("delimiter")) or " ", card_frame(cards))


def card_frame(cards: Any) -> str:
    """The frame that FITS cards say, such as ``FK4 1950.0``; empty without one."""
    system = str(cards.get("RADESYS", cards.get("RADECSYS", ""))).strip()
    equinox = str(cards.get("EQUINOX", cards.get("EPOCH", ""))).strip()
    # The old name of the equinox; of other values it is when the stars were where they are said to be.
    if "EQUINOX" not in cards and equinox not in ("1950", "1950.0", "2000", "2000.0"):
        equinox = ""
    return f"{system} {equinox}".strip()


def _items(node: Any) -> Iterator[tuple[str, Any]]:
    """The keys and values of a mapping, or of a list of mappings, which keeps their order."""
    for part in getattr(node, "value", ()) if node is not None else ():
        if isinstance(part, tuple):
            yield _scalar(part[0]), part[1]
        elif not isinstance(part, str):
            yield from ((_scalar(key), value) for key, value in part.value if part.id == "mapping")


def _unit(node: Any) -> str:
    """A unit, which may be a text or ``!astropy.units.Unit {unit: ...}``."""
    return _unit(dict(_items(node)).get("unit")) if getattr(node, "id", "") == "mapping" else _scalar(node)


def _scalar(node: Any) -> str:
    return str(node.value) if getattr(node, "id", "") == "scalar" else ""
