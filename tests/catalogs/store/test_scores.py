"""Columns of scores: in the schema, in filters and answers, in archives, and in catalogues without them."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.io.votable.ucd import parse_ucd

import catalogs
from catalogs import hats
from catalogs.errors import ScannerError
from catalogs.render import render
from catalogs.store.provenance import Info
from tests.support import catalogue_rows

SCORES = {"names": ["lens", "ring"], "prevalence": 0.001, "population": "Made-up objects."}
RUN = replace(catalogue_rows.RUN, contract={**catalogue_rows.RUN.contract, "version": 2, "scores": SCORES})
ABOUT = "Natural log-odds of the class lens at a prevalence of 0.001"


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Two tiles of 200 objects; one in eight has no score."""
    catalogue = catalogs.create(tmp_path_factory.mktemp("scored") / "embeddings", RUN)
    for number in (100240, 101240):
        rng = np.random.default_rng(number)
        lens = np.where(np.arange(200) % 8, rng.normal(-5, 4, 200), np.nan).astype(np.float32)
        columns = {"score_lens": lens, "score_ring": -lens}
        rows = catalogue_rows.make(number, np.linspace(10, 10.4, 200), np.linspace(30, 30.4, 200), **columns)
        catalogue_rows.write(catalogue, f"{number // 1000}.240", rows, RUN)
    return catalogs.open(catalogue.path)


def test_they_stand_before_the_embedding_with_unit_ucd_and_meaning(scored):
    assert scored.schema.names[-3:] == ["score_lens", "score_ring", "embedding"]
    field = pq.read_schema(scored.tile_path("100.240")).field("score_lens")
    assert str(field.type) == "float"
    assert field.metadata == {b"ucd": b"stat.likelihood;src.class", b"description": ABOUT.encode()}
    assert parse_ucd("stat.likelihood;src.class", check_controlled_vocabulary=True)


def test_filters_and_tables_take_them_like_any_column(scored):
    table = scored.table(["score_lens", "score_ring"])
    assert len(table) == 400
    assert table["score_lens"].unit is None
    assert table["score_lens"].description == ABOUT
    expected = int((table["score_lens"] > 0).sum())
    assert 0 < expected < 400
    assert len(scored.table(["ra"], where="score_lens > 0")) == expected
    assert len(scored.table(["ra"], where="isnan(score_lens)")) == 50
    assert len(scored.table(["ra"], where="score_lens > 0 and score_ring < -3 and is_primary")) <= expected
    assert "score_lens" in scored.table().colnames


def test_a_catalogue_without_scores_says_so(survey):
    with pytest.raises(ScannerError, match="cannot use score_lens") as caught:
        survey.table(where="score_lens > 3")
    assert caught.value.code == "where.column"
    assert "does not give that score" in caught.value.hint
    with pytest.raises(ScannerError) as caught:
        survey.table(["score_lens"])
    assert caught.value.code == "column.unknown"
    assert survey.info.scores is None


def test_votable_and_fits_say_what_they_are(scored):
    found = scored.table(["object_id", "score_lens"])
    votable = parse(io.BytesIO(render(found, "votable").encode()))
    field = next(one for one in votable.iter_fields_and_params() if one.name == "score_lens")
    assert (field.datatype, field.ucd, field.unit, field.description) == (
        "float", "stat.likelihood;src.class", None, ABOUT,
    )  # fmt: skip
    with fits.open(io.BytesIO(render(found, "fits"))) as hdus:
        np.testing.assert_array_equal(hdus[1].data["score_lens"], found["score_lens"])
        assert (hdus[1].header["TUCD2"], hdus[1].header["TCOMM2"]) == ("stat.likelihood;src.class", ABOUT)


@pytest.mark.filterwarnings("ignore")
def test_a_published_catalogue_has_them(scored, tmp_path):
    options = hats.Options("scored", rows_per_file=150, margin=10.0, all_rows=True)
    hats.publish(scored, tmp_path / "hats", options)
    lsdb = pytest.importorskip("lsdb", reason="LSDB is not installed")
    found = lsdb.open_catalog(str(tmp_path / "hats")).query("score_lens > 0").compute()
    expected = scored.table(["object_id", "score_lens"], where="score_lens > 0")
    assert dict(zip(found["object_id"], found["score_lens"], strict=True)) == dict(expected.iterrows())


def test_an_earlier_release_refuses_the_catalogue_by_its_version(scored, survey):
    versions = [json.loads((one.path / "catalogue.json").read_text())["version"] for one in (survey, scored)]
    assert versions == [1, 2]


@pytest.mark.parametrize("change", [{"names": ["Lens"]}, {"prevalence": 2}, {"names": "lens"}, {"more": 1}])
def test_a_catalogue_with_scores_that_no_model_has_is_damaged(change):
    contract = {**RUN.contract, "scores": SCORES | change}
    with pytest.raises(ValueError, match=r"contract\.scores"):
        replace(Info.of(RUN), contract=contract)


def test_runs_with_scores_and_without_are_two():
    assert RUN.digest != catalogue_rows.RUN.digest
