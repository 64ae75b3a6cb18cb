"""Ranges beside the index rule out tiles that no row of passes a filter, and never another one."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import catalogs
from catalogs.index import ranges
from catalogs.index.build import IndexOptions, build_index
from catalogs.ranking.outliers import outliers
from catalogs.search import random_sample
from catalogs.search.ordering import ordered
from catalogs.store.rows import selection
from catalogs.store.tile_store import TileStore
from tests.support import catalogue_rows
from tests.support.catalogue_rows import RUN

INDEXED = IndexOptions(shard_rows=700)


@pytest.fixture
def opened(monkeypatch):
    """Names of the tiles whose files are opened, in order."""
    names: list[str] = []
    real = TileStore.open_tile
    monkeypatch.setattr(TileStore, "open_tile", lambda self, tile: names.append(tile) or real(self, tile))
    return names


def files(catalogue):
    return sorted((catalogue.path / "index").glob("*.ranges"))


@pytest.mark.parametrize(
    ("where", "tiles"),
    [
        ('tile == "102.240"', {"102.240"}),
        ('tile in ("101.240", "104.240", "9")', {"101.240", "104.240"}),
        ("object_id == 103000007", {"103.240"}),
        ("ra > 359 and ra < 359.4", {"100.240"}),
        ("1.6 < ra < 300 or object_id < 101000000", {"100.240", "105.240"}),
        ('"05.2" in tile', {"105.240"}),
        ("dec < 0", set()),
        ("dec < 0 and is_primary", set()),
        ("dec < 0 or not mag_r > 5", {f"10{number}.240" for number in range(6)}),
    ],
)
def test_a_filter_opens_no_tile_that_it_rules_out(survey, opened, where, tiles):
    build_index(survey, INDEXED)
    expected = survey.table(["object_id"], where=where)
    vector, snapshot = np.ones(16), survey.snapshot()
    opened.clear()
    answer = survey.neighbours(vector=vector, k=10_000, where=where, columns=["object_id"])
    assert set(opened) == tiles
    assert sorted(answer["object_id"]) == sorted(expected["object_id"])
    chosen = selection(survey, where, None)
    for ask in (
        lambda: len(random_sample.draw(snapshot.only(snapshot.footers), chosen, 10_000)),
        lambda: len(ordered(survey.snapshot(), "snr", 10_000, where=where)),
        lambda: len(outliers(survey, where=where, k=10_000, sample=20_000)) if len(expected) > 10 else len(expected),
    ):
        opened.clear()
        assert ask() == len(expected)
        assert set(opened) <= tiles


def test_what_is_not_known_or_not_a_comparison_rules_nothing_out(survey):
    build_index(survey, INDEXED)
    footers = survey.footers()
    for where in ("not dec < 90", "dec != 100", "isnan(mag_r) or dec < 0", "-dec > 100", "dec - 50 > 0", "is_primary"):
        assert ranges.rule_out(survey, footers, selection(survey, where, None)) == frozenset(), where
    assert len(ranges.rule_out(survey, footers, selection(survey, "dec > 100", None))) == 6
    assert len(ranges.rule_out(survey, footers, selection(survey, None, (0.0, -50.0, 100.0)))) == 6


def test_a_tile_that_was_scanned_again_is_not_ruled_out(survey, make_rows, write_tile):
    build_index(survey, INDEXED)
    new = make_rows(102, [0.5], [80.0])
    write_tile(survey, "102.240", new)
    for where in ("dec > 70", 'tile == "102.240" and dec > 70'):
        assert survey.neighbours(vector=np.ones(16), where=where)["object_id"].tolist() == [102_000_000]
        assert ordered(survey.snapshot(), "snr", 9, where=where)["object_id"].tolist() == [102_000_000]
    build_index(survey, INDEXED)
    assert survey.neighbours(vector=np.ones(16), where="dec > 70")["object_id"].tolist() == [102_000_000]


def test_an_index_without_ranges_answers_and_gets_them_without_being_rebuilt(survey, opened):
    built = build_index(survey, INDEXED)
    whole = {path.name: path.read_bytes() for path in (survey.path / "index").glob("shard-*")}
    for path in files(survey):
        path.unlink()
    where = 'tile == "102.240"'
    assert len(survey.neighbours(vector=np.ones(16), k=500, where=where)) == 300
    again = build_index(survey, INDEXED)
    assert (again.built, again.kept) == ((), built.built)
    assert {path.name: path.read_bytes() for path in (survey.path / "index").glob("shard-*")} == whole
    opened.clear()
    survey.neighbours(vector=np.ones(16), k=500, where=where)
    assert set(opened) == {"102.240"}


def damaged(text: str) -> list[str]:
    values = json.loads(text)
    low, high = values["columns"]["dec"]
    other = {**values, "columns": {**values["columns"], "dec": [[n + 50 for n in low], [n + 50 for n in high]]}}
    return [text[:-30], text.replace("30.", "80.", 1), json.dumps(other), "[1, 2]", "", json.dumps({"crc32": 1})]


@pytest.mark.parametrize("number", range(6))
def test_damaged_ranges_rule_out_nothing_and_are_replaced(survey, caplog, number):
    build_index(survey, INDEXED)
    whole = {path: path.read_bytes() for path in files(survey)}
    expected = survey.neighbours(vector=np.ones(16), k=50, where="dec < 40")["object_id"].tolist()
    for path in files(survey):
        path.write_text(damaged(path.read_text())[number])
        os.utime(path, ns=(number, number))
    assert survey.neighbours(vector=np.ones(16), k=50, where="dec < 40")["object_id"].tolist() == expected
    assert "It rules out no tile" in caplog.text
    build_index(survey, INDEXED)
    assert {path: path.read_bytes() for path in files(survey)} == whole


def test_ranges_of_other_tiles_are_removed_with_their_shard(survey, make_rows, write_tile):
    build_index(survey, INDEXED)
    before = files(survey)
    write_tile(survey, "102.240", make_rows(102, [0.5], [80.0]))
    build_index(survey, INDEXED)
    assert len(files(survey)) == len(before)
    assert set(files(survey)) != set(before)


floats = st.sampled_from([0.0, -0.0, 1.5, 21.3, 3e38, np.nan, np.inf, -np.inf])
ids = st.sampled_from([0, -1, 7, 2**53, 2**53 + 1, 9_100_000_000_000_000_000])
texts = st.sampled_from(["u", "ugr", "é", "\U0001f52d", ""])
columns = st.sampled_from(["mag_u", "snr", "ra", "flags", "object_id"])
constants = st.sampled_from(["0", "-1", "1.5", "21.3", "7", "1e39", "-1e400", "1e400", "9007199254740993", "2.0"])
signs = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
comparisons = (
    st.builds("{} {} {}".format, columns, signs, constants)
    | st.builds("{} {} {}".format, constants, signs, columns)
    | st.builds("{} < {} <= {}".format, constants, columns, constants)
    | st.builds("{} {} ({}, {})".format, columns, st.sampled_from(["in", "not in"]), constants, constants)
    | st.builds("bands_present {} {!r}".format, signs, texts)
    | st.builds("{!r} {} bands_present".format, texts, st.sampled_from(["in", "not in"]))
    | st.builds("isnan({})".format, columns)
    | st.just("is_primary")
)
filters = st.recursive(
    comparisons,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("(not {})".format, inner)
    ),
    max_leaves=6,
)
rows = st.lists(st.tuples(floats, floats, st.integers(0, 8), ids, texts, st.booleans()), min_size=2, max_size=12)


@given(rows=rows, asked=st.lists(filters, min_size=1, max_size=25))
@settings(max_examples=25)
def test_no_row_that_passes_is_ever_ruled_out(tmp_path_factory, rows, asked):
    """Two tiles of several row groups, with all that is odd in them: every filter selects what it does unfiltered."""
    catalogue = catalogs.create(tmp_path_factory.mktemp("any"), RUN)
    with pytest.MonkeyPatch.context() as small:
        small.setattr("catalogs.store.tile_writer.ROW_GROUP", 2)
        for number, part in enumerate((rows[: len(rows) // 2], rows[len(rows) // 2 :])):
            mag_u, snr, flags, object_id, bands, own = (list(column) for column in zip(*part, strict=True))
            made = catalogue_rows.make(
                number, np.linspace(0, 2, len(part)), np.linspace(0, 1, len(part)),
                mag_u=np.array(mag_u, np.float32), snr=np.array(snr, np.float32), flags=np.array(flags, np.int32),
                bands_present=np.array(bands), is_primary=np.array(own),
            )  # fmt: skip
            made["object_id"] = np.sort(np.array(object_id, np.int64))
            with catalogue.writer(f"{number}.1", RUN) as writer:
                writer.write(made)
    build_index(catalogue)
    assert len(catalogue.footers()) == 2
    for where in asked:
        chosen = selection(catalogue, where, None)
        ruled_out = ranges.rule_out(catalogue, catalogue.footers(), chosen)
        expected = []
        for name in catalogue.tiles():
            with catalogue.open_tile(name) as file:
                whole = [chosen.row_filter.apply(table) for table in file.groups(catalogue.schema.names)]
                passing = sum(table.num_rows for table in whole)
                found = sum(table.num_rows for table in file.groups(["object_id"], chosen))
            expected.append(passing)
            assert found == passing, where
            assert not (name in ruled_out and passing), where
        assert pickle.loads(pickle.dumps(chosen)).possible() == chosen.possible()  # noqa: S301  (our own)
