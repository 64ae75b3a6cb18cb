"""Records are read strictly, and the message names the key that is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from catalogs.records import read_record


@dataclass(frozen=True)
class Band:
    zero_point: float
    hdu: tuple[int | str, ...] = (0,)
    zero_is_missing: bool = False


@dataclass(frozen=True)
class Survey:
    name: str
    bands: Mapping[str, Band]
    side: int = 1
    grid: str | None = None
    detection: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def read(**changes: Any) -> Survey:
    return read_record({"name": "unions", "bands": {"u": {"zero_point": 30}}} | changes, Survey)


def test_nested_values_follow_their_types() -> None:
    made = read(bands={"u": {"zero_point": 30, "hdu": [1, "IMAGE"]}}, detection=["r", "i"], settings={"a": [1]})
    assert made == Survey("unions", {"u": Band(30.0, (1, "IMAGE"))}, detection=("r", "i"), settings={"a": [1]})
    assert type(made.bands["u"].zero_point) is float
    assert read(grid=None).grid is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nane": "x"}, "has the unknown key 'nane'; is it 'name'?"),
        ({"name": 5}, "name must be a text, not 5"),
        ({"side": "5"}, "side must be a whole number, not '5'"),
        ({"side": True}, "side must be a whole number, not True"),
        ({"side": 1.0}, "side must be a whole number, not 1.0"),
        ({"detection": "ri"}, "detection must be a list, not 'ri'"),
        ({"detection": ["r", 1]}, "detection[1] must be a text, not 1"),
        ({"bands": [1]}, "bands must be a table, not [1]"),
        ({"bands": {"u": 3}}, "bands.u must be a table, not 3"),
        ({"bands": {"u": {}}}, "bands.u.zero_point is missing"),
        ({"bands": {"u": {"zero_point": "x"}}}, "bands.u.zero_point must be a number, not 'x'"),
        ({"bands": {"u": {"zero_point": 1, "zero": 1}}}, "bands.u has the unknown key 'zero'"),
        ({"grid": 4}, "grid"),
    ],
)
def test_the_first_wrong_key_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        read(**changes)


def test_a_list_is_no_record() -> None:
    with pytest.raises(ValueError, match=r"must be a table, not \[\]"):
        read_record([], Survey)
