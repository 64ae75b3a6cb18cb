"""Filters select the rows they say, are pushed down, and never run code."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import catalogs
from catalogs.errors import ScannerError
from catalogs.store import row_filter, rows, tile_reader
from catalogs.store.schema import catalogue_schema

SCHEMA = catalogue_schema(("u", "g", "r"), 16)


@pytest.fixture
def varied(catalogue, make_rows, write_tile):
    rng = np.random.default_rng(5)
    mag_u = np.where(rng.random(200) < 0.3, np.nan, rng.uniform(18, 26, 200)).astype(np.float32)
    bands = np.where(rng.random(200) < 0.5, "ugr", "gr")
    rows = make_rows(
        1, rng.uniform(0, 1, 200), rng.uniform(0, 1, 200), mag_u=mag_u, bands_present=bands,
        is_primary=rng.random(200) < 0.5, flags=rng.integers(0, 16, 200).astype(np.int32),
    )  # fmt: skip
    write_tile(catalogue, "1.1", rows)
    write_tile(catalogue, "2.1", make_rows(2, rng.uniform(0, 1, 50), rng.uniform(0, 1, 50)))
    return catalogue


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mag_r < 21 and is_primary", lambda t: (t["mag_r"] < 21) & t["is_primary"]),
        ("not is_primary", lambda t: ~t["is_primary"]),
        ("10 <= mag_g < 20 or snr > 25.5", lambda t: ((t["mag_g"] >= 10) & (t["mag_g"] < 20)) | (t["snr"] > 25.5)),
        ("isnan(mag_u)", lambda t: np.isnan(t["mag_u"])),
        ("not isnan(mag_u) and mag_u - mag_g > 0.5", lambda t: (t["mag_u"] - t["mag_g"]) > 0.5),
        ('tile in ("1.1", "9.9")', lambda t: t["tile"] == "1.1"),
        ("flags not in (1, 2, 3)", lambda t: ~np.isin(t["flags"], (1, 2, 3))),
        ("dec in (0, 5)", lambda t: (t["dec"] == 0) | (t["dec"] == 5)),
        ("flags & 4 == 0", lambda t: (t["flags"] & 4) == 0),
        ('"u" in bands_present', lambda t: np.char.find(t["bands_present"], "u") >= 0),
        ('"u" not in bands_present', lambda t: np.char.find(t["bands_present"], "u") < 0),
        ("abs(mag_g - mag_r) <= 2", lambda t: np.abs(t["mag_g"] - t["mag_r"]) <= 2),
        ("dec > -0.5 and object_id == 1000003", lambda t: t["object_id"] == 1000003),
        ("is_primary == True", lambda t: t["is_primary"]),
        ("is_primary == 1", lambda t: t["is_primary"]),
        ("~is_primary & (snr > 25)", lambda t: ~t["is_primary"] & (t["snr"] > 25)),
        ("(snr > 25) | ~(flags & 3 == 0)", lambda t: (t["snr"] > 25) | ((t["flags"] & 3) != 0)),
        ("(flags & 6) != 0 and -mag_g < -20", lambda t: ((t["flags"] & 6) != 0) & (t["mag_g"] > 20)),
        ("(snr > 25) == is_primary", lambda t: (t["snr"] > 25) == t["is_primary"]),
        ("flags >= 1.5", lambda t: t["flags"] >= 2),
        ("flags == 1.5", lambda t: t["flags"] < 0),
        ("flags in (1.5, 2.0)", lambda t: t["flags"] == 2),
        ("is_primary in (1,)", lambda t: t["is_primary"]),
        ("flags in ()", lambda t: t["flags"] < 0),
        ("snr > 20 +\n 5", lambda t: t["snr"] > 25),
        ("tile != 'é' and 3 * 10 > snr", lambda t: t["snr"] < 30),
        # What other programs fail on is a value: infinite, NaN, or beyond 64 bits.
        ("1 / flags > 0", lambda t: t["flags"] >= 0),
        ("100 / (flags - 2) < 500", lambda t: t["flags"] != 2),
        ("mag_g / 0 > 1", lambda t: t["mag_g"] > 0),
        ("0 / 0 < snr", lambda t: t["snr"] < 0),
        ("isnan((flags - 2) / (flags - 2))", lambda t: t["flags"] == 2),
        ("object_id * 100000000000 > 0", lambda t: t["object_id"] >= 0),
        ("object_id == 1e400", lambda t: t["object_id"] < 0),
        ("object_id < 1e400", lambda t: t["object_id"] >= 0),
        ("snr == 1e39", lambda t: t["snr"] < 0),
    ],
)
def test_a_filter_selects_what_it_says(varied, text, expected):
    whole = varied.table()
    found = varied.table(["object_id"], where=text)
    assert list(found["object_id"]) == list(whole["object_id"][np.asarray(expected(whole))])


def test_a_number_too_large_for_a_column_is_refused():
    with pytest.raises(ScannerError) as refused:
        row_filter.parse("object_id == 99999999999999999999", SCHEMA)
    assert refused.value.code == "where.syntax"


def test_an_id_too_large_for_a_column_is_unknown(varied):
    with pytest.raises(ScannerError) as refused:
        varied.neighbours(object_id=99999999999999999999)
    assert refused.value.code == "query.unknown_object"


def test_an_unknown_column_is_named_with_those_there_are():
    with pytest.raises(ScannerError) as refused:
        row_filter.parse("mag_r < 21 and magnitude < 20", SCHEMA)
    assert refused.value.code == "where.column"
    assert "magnitude" in refused.value.message
    assert "mag_r" in refused.value.hint


LARGE = pa.table(
    {
        "object_id": [2**53, 2**53 + 1, 9_100_000_000_000_000_000, 9_100_000_000_000_000_001],
        "mag_r": pa.array([21.3, 20, 22, np.nan], pa.float32()),
    }
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("object_id == 9007199254740993", [1]),
        ("object_id == 9007199254740992.0", [0]),
        ("object_id > 9007199254740992.0", [1, 2, 3]),
        ("object_id in (9007199254740993, 9.1e18)", [1, 2]),
        ("object_id == 9100000000000000001", [3]),
        ("object_id - 9100000000000000000 == 1", [3]),
        ("object_id + 1 == 9100000000000000002", [3]),
        ("abs(object_id) == 9100000000000000001", [3]),
        ("object_id > mag_r", [0, 1, 2]),
        # A number with decimals is what is shown for the single precision of the column.
        ("mag_r == 21.3", [0]),
        ("mag_r <= 21.3", [0, 1]),
        ("mag_r < 21.3", [1]),
        ("mag_r in (21.3, 22)", [0, 2]),
        ("mag_r != 21.3", [1, 2, 3]),
        ("not mag_r < 21.5", [2, 3]),
        ("(mag_r < 21.5) == (object_id < 0)", [2, 3]),
    ],
)
def test_numbers_are_compared_exactly(text, rows):
    chosen = row_filter.parse(text, LARGE.schema).apply(LARGE)
    assert chosen.column("object_id").to_pylist() == [LARGE.column("object_id")[row].as_py() for row in rows]


@pytest.mark.parametrize(
    "text",
    [
        "snr > 10 & flags == 0",
        "snr > 10 | flags == 0",
        "flags == 0 & snr > 10",
        "flags == 0 & is_primary",
        "is_primary & snr > 10",
        "is_primary & flags == 0",
        "flags & 2 == 0 & is_primary",
        "flags & 2 == 0 | flags & 4 == 0",
        "flags & 2 + 1 == 3",
        "flags & object_id == 0",
        "snr > 10 & (flags == 0)",
        "not is_primary & is_primary",
        "is_primary | is_primary and snr > 10",
        "snr > 10 == True",
        "flags == 0 == is_primary",
        "18 < mag_r > 20",
        "(is_primary & snr) > 10",
        "~snr > 10",
        "flags == True",
        "is_primary == 2",
        "1 < 2",
        "True",
        "tile in (1,)",
        "flags in (True,)",
        "3 in (3, 4)",
        "mag_r == nan",
    ],
)
def test_what_can_be_read_in_two_ways_or_has_no_sense_is_refused_with_a_way_out(text):
    with pytest.raises(ScannerError) as refused:
        row_filter.parse(text, SCHEMA)
    assert refused.value.code in ("where.syntax", "where.type", "where.column")
    assert refused.value.hint


def test_filters_are_joined_as_conditions_not_as_text(varied):
    with pytest.raises(ScannerError, match="cannot be read"):
        rows.primary(varied, "snr < 0) or (snr > 0")
    chosen = rows.primary(varied, "snr < 0 or snr > 0 # a comment")
    assert [part["is_primary"].to_pylist() for _, part in rows.scan(varied.snapshot(), ["is_primary"], chosen)]
    for _, part in rows.scan(varied.snapshot(), ["is_primary"], chosen):
        assert all(part["is_primary"].to_pylist())


def test_ids_are_found_as_the_expression_finds_them(varied):
    (_, table), *_ = rows.scan(varied.snapshot(), ["object_id", "snr"])
    ids = table["object_id"].to_pylist()
    for some in (ids[3:1:-1], [ids[0], -1, ids[0]], [], [2**62]):
        chosen = row_filter.of_ids(some)
        assert chosen.apply(table).equals(table.filter(chosen.expression))
        # With another condition, both count.
        both = chosen & row_filter.parse("snr > 20", varied.schema)
        assert both.apply(table).equals(table.filter(both.expression))


def test_a_filter_that_fails_is_not_a_damaged_tile(varied):
    broken = row_filter.RowFilter("flags", pc.divide(pc.field("flags"), 0) > 1, ("flags",), None)
    with pytest.raises(ScannerError) as refused:
        list(rows.scan(varied.snapshot(), ["ra"], tile_reader.Selection(broken)))
    assert refused.value.code == "where.type"


@pytest.mark.parametrize(
    "text", ["mag_r < 'bright'", "tile > 3", "mag_r", "mag_r + 1", "not mag_r", "isnan(tile)", "21"]
)
def test_a_filter_without_sense_is_refused(text):
    with pytest.raises(ScannerError) as refused:
        row_filter.parse(text, SCHEMA)
    assert refused.value.code in ("where.type", "where.syntax")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mag_r <",
        "mag_r is 3",
        "__import__('os').system('true')",
        "mag_r.real < 3",
        "(lambda: True)()",
        "[x for x in (1, 2)]",
        "mag_r < 21; snr > 3",
        "mag_r := 3",
        "open('x')",
        "flags in range(3)",
        "mag_r ** 100 < 3",
        "isnan(mag_r, mag_g)",
        "f'{tile}' == 'x'",
        "(" * 500 + "mag_r" + ")" * 500 + " < 3",
        "mag_r < 21 and " * 400 + "is_primary",
    ],
)
def test_what_is_not_a_filter_is_refused(text):
    with pytest.raises(ScannerError) as refused:
        row_filter.parse(text, SCHEMA)
    assert refused.value.code in ("where.syntax", "where.column")


def test_row_groups_that_cannot_pass_are_not_read(catalogue, run, make_rows, monkeypatch):
    monkeypatch.setattr("catalogs.store.tile_writer.ROW_GROUP", 100)
    snr = np.linspace(0, 100, 1000).astype(np.float32)
    with catalogue.writer("1.1", run) as writer:
        writer.write(make_rows(1, np.full(1000, 20.0), np.linspace(0, 1, 1000), snr=snr))
    selection = tile_reader.Selection(row_filter.parse("snr > 85", SCHEMA))
    with catalogue.open_tile("1.1") as file:
        assert file.row_groups(selection) == [8, 9]
    assert len(catalogue.table(["snr"], where="snr > 85")) == np.sum(snr > 85)


@pytest.mark.parametrize(
    "text",
    [
        "not mag_u < 30",
        "mag_u != 5",
        "isnan(mag_u)",
        "mag_u not in (5, 6)",
        "not (mag_u > 3 and snr > 0)",
        "snr > 0 or isnan(mag_u)",
        "(mag_u < 30) == (snr < 0)",
        "~(mag_u < 30)",
        "(mag_u < 3) | isnan(mag_u)",
        "is_primary or isnan(mag_u)",
        "not (is_primary & (mag_u < 30))",
    ],
)
def test_statistics_that_ignore_nan_do_not_lose_rows(catalogue, make_rows, write_tile, text):
    write_tile(catalogue, "1.1", make_rows(1, [1.0, 2.0], [1.0, 2.0], mag_u=np.array([5, np.nan], np.float32)))
    assert 1_000_001 in catalogue.table(["object_id"], where=text)["object_id"]


numbers = st.sampled_from([0.0, 1.5, 3.0, np.nan])
names = st.sampled_from(["mag_u", "mag_g", "snr"])
comparisons = st.builds(
    "{} {} {}".format, names, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.sampled_from("0123")
)
filters = st.recursive(
    comparisons | st.builds("isnan({})".format, names),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("(not {})".format, inner)
    ),
    max_leaves=6,
)


@given(filters, st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=12))
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
def test_a_filter_means_what_python_means_whatever_the_row_groups(run, make_rows, tmp_path_factory, text, values):
    catalogue = catalogs.create(tmp_path_factory.mktemp("any"), run)
    mag_u, mag_g, snr = np.array(values, np.float32).T
    count = len(values)
    rows = make_rows(1, np.linspace(0, 1, count), np.linspace(0, 1, count), mag_u=mag_u, mag_g=mag_g, snr=snr)
    with pytest.MonkeyPatch.context() as small:
        small.setattr("catalogs.store.tile_writer.ROW_GROUP", 3)
        with catalogue.writer("1.1", run) as writer:
            writer.write(rows)
    scope = [{"isnan": np.isnan, "mag_u": u, "mag_g": g, "snr": s} for u, g, s in values]
    expected = [1_000_000 + row for row, names in enumerate(scope) if eval(text, names)]
    assert list(catalogue.table(["object_id"], where=text)["object_id"]) == expected
