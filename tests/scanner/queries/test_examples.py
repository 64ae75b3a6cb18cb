"""Positions that give no spot: which errors concern one position, and which the whole list."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from catalogs.errors import ErrorCode, ScannerError
from catalogs.search.examples import Example, Unmatched, none
from scanner.queries import examples


def with_spots(code: ErrorCode) -> Any:
    """Two positions off the catalogue, the first of which cannot be embedded for the reason ``code``."""

    def spot(place: Any) -> Example:
        if place.name == "bad":
            raise ScannerError(code, "no spot")
        return Example(place.name, np.array([1.0, 0.0], np.float32), place.ra, place.dec)

    unmatched = (
        Unmatched("bad", 10.0, 30.0, ErrorCode.QUERY_NO_OBJECT),
        Unmatched("good", 11.0, 30.0, ErrorCode.QUERY_OUTSIDE_COVERAGE),
    )
    return examples._embed_unmatched(replace(none(2), unmatched=unmatched), SimpleNamespace(spot=spot))  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["tile.truncated", "tile.missing_file", "query.outside_coverage", "model.missing"])
def test_an_error_of_one_position_leaves_the_others(code: str) -> None:
    joined = with_spots(ErrorCode(code))
    assert joined.name.tolist() == ["good"]
    assert [(one.name, one.code) for one in joined.unmatched] == [("bad", code)]


@pytest.mark.parametrize("code", ["catalogue.other_model", "tile.reader_died", "query.bad_vector"])
def test_an_error_of_the_set_up_is_raised(code: str) -> None:
    with pytest.raises(ScannerError) as caught:
        with_spots(ErrorCode(code))
    assert caught.value.code == code
