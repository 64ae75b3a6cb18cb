"""Filters in Lance's words pass the rows that they pass in Arrow, whatever the rows hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalogs.errors import ScannerError
from catalogs.lance import filter_sql
from catalogs.store import row_filter, rows
from tests.support.catalogue_rows import DIM

EXACT = [
    "mag_r < 21",
    "mag_r > 21",
    "not mag_r > 21",
    "mag_r == 0",
    "mag_r != 0",
    "mag_r >= 0",
    "mag_r <= 0",
    "mag_r < 0",
    "21.3 < mag_r <= 22.7",
    "30 > mag_r",
    "mag_r < 1e300",
    "isnan(mag_r)",
    "not isnan(mag_r) and mag_r > 29",
    "mag_g - mag_r > 0.8",
    "mag_g == mag_r",
    "mag_g != mag_r",
    "mag_g < mag_r",
    "mag_r - mag_r == 0",
    "abs(mag_r) < 3",
    "-mag_r > -20",
    "flags in (0, 20)",
    "mag_r * 1e300 * 1e300 > 0",
    "flags & 4 == 0",
    "(flags & 5) > 1",
    "flags in (1, 2)",
    "flags not in (1, 2)",
    "mag_r in (0, 20)",
    "mag_r not in (0, 20)",
    "mag_r not in (5e-324, 1e300)",
    "flags < 3000000000",
    "flags > -3000000000",
    "flags != 9223372036854775807",
    "flags in (1, 3000000000)",
    "flags / 0 > 1",
    "abs(flags - 3) == 1",
    "flags < 2.5",
    '"u" in bands_present',
    'bands_present == "ur\'s"',
    'bands_present in ("gr", "x")',
    'tile != "217.290"',
    "object_id / 2 > 108645500000",
    "object_id * 3 > 651872000000",
    "_healpix_29 > 5 and mag_r < 22.3",
    "is_primary",
    "not is_primary",
    "is_primary == 1",
    "(20 < mag_r <= 21 and flags < 3) or mag_g < 16",
]


def ids_of(dataset, sql: str | None) -> set[int]:
    return set(dataset.objects.to_table(columns=["object_id"], filter=sql).column(0).to_pylist())


def passing(dataset, text: str) -> set[int]:
    return set(dataset.table(["object_id"], where=text)["object_id"].tolist())


@pytest.mark.parametrize("text", EXACT)
def test_a_translated_filter_passes_the_same_rows(dataset, text) -> None:
    made = filter_sql.translate(row_filter.parse(text, dataset.schema), dataset.schema)
    assert made.exact
    assert ids_of(dataset, made.sql) == passing(dataset, text)


def test_what_lance_cannot_evaluate_passes_more_rows_and_never_fewer(dataset) -> None:
    for text, translated in {
        "(flags | 1) == 1": False,
        "(flags | 1) == 1 and mag_r < 20": True,
    }.items():
        made = filter_sql.translate(row_filter.parse(text, dataset.schema), dataset.schema)
        assert not made.exact
        assert (made.sql is not None) == translated
        assert ids_of(dataset, made.sql) > passing(dataset, text)
    for text in ("flags > 0 / 0", "flags != 0 / 0", "mag_r > 0 / 0"):
        made = filter_sql.translate(row_filter.parse(text, dataset.schema), dataset.schema)
        assert ids_of(dataset, made.sql) >= passing(dataset, text)
    for text in ("not (flags | 1) == 1", "mag_r < 20 or (flags | 1) == 1"):
        made = filter_sql.translate(row_filter.parse(text, dataset.schema), dataset.schema)
        assert made == filter_sql.SqlFilter(None, exact=False)


def test_a_condition_that_lance_does_not_take_is_left_to_arrow(dataset, monkeypatch, caplog) -> None:
    """It is no sign of damage."""
    expected = passing(dataset, "flags == 1")
    monkeypatch.setattr(filter_sql, "translate", lambda *given: filter_sql.SqlFilter("flags == 3000000000", exact=True))
    found = dataset.neighbours(vector=np.ones(DIM), k=len(expected), where="flags == 1")
    assert set(found["object_id"].tolist()) == expected
    assert "Lance cannot evaluate a filter" in caplog.text


def test_several_filters_are_translated_one_by_one(dataset) -> None:
    both = rows.selection(dataset, ["mag_r < 22 or mag_r > 25", "flags == 1"], None).row_filter
    assert both is not None
    made = filter_sql.translate(both, dataset.schema)
    assert made.exact
    assert ids_of(dataset, made.sql) == passing(dataset, "(mag_r < 22 or mag_r > 25) and flags == 1")


NUMBERS = st.sampled_from(["mag_r", "mag_g", "flags", "ra", "-mag_r", "mag_g - mag_r", "abs(flags - 4)", "flags & 6"])
CONSTANTS = st.one_of(st.integers(-9, 40).map(str), st.floats(-40, 40, allow_nan=False).map(lambda x: f"({x!r})"))
COMPARED = st.builds(
    lambda left, sign, right: f"({left}) {sign} {right}",
    NUMBERS,
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    st.one_of(CONSTANTS, NUMBERS.map(lambda name: f"({name})")),
)
FILTERS = st.recursive(
    COMPARED,
    lambda inner: st.one_of(
        inner.map(lambda one: f"not ({one})"),
        st.builds(lambda a, w, b: f"({a}) {w} ({b})", inner, st.sampled_from(["and", "or"]), inner),
    ),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILTERS)
def test_any_filter_passes_the_same_rows(dataset, text) -> None:
    try:
        parsed = row_filter.parse(text, dataset.schema)
    except ScannerError:
        return
    made = filter_sql.translate(parsed, dataset.schema)
    found, expected = ids_of(dataset, made.sql), passing(dataset, text)
    assert found == expected if made.exact else found >= expected
