"""Completeness and contamination of a made-up catalogue, counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import catalogs
from catalogs.catalogue import Catalogue
from catalogs.completeness import injected, measure
from catalogs.completeness.injected import NOWHERE, Floats, Injected, Positions, Search, match_tiles, search
from catalogs.errors import ScannerError
from catalogs.search.full_pass import Block
from tests.support import catalogue_rows
from tests.support.catalogue_rows import SCORED_RUN

ARCSEC = 1 / 3600


@pytest.fixture
def painted(tmp_path: Path) -> Catalogue:
    """Two tiles at dec 60 whose objects span 0.2 by 0.1 degrees each; the second repeats an object of the first.

    The lenses A to E lie in the first tile; the objects beside them follow the five others.
    """
    filled = catalogs.create(tmp_path / "embeddings", SCORED_RUN)
    ra = np.array([359.9, 0.1, 359.9, 0.1, 0.0, 359.95, 359.96, 359.97, 0.05])
    dec = np.array([60.0, 60.0, 60.1, 60.1, 60.05, 60.02, 60.02, 60.02, 60.08])
    dec[5] += 0.5 * ARCSEC  # A
    dec[6] += 0.9 * ARCSEC  # B, whose score is missing
    dec[7] += 2.0 * ARCSEC  # near C, but not it
    score = np.array([0, 1, 2, 3, 4, 2.5, np.nan, 9, 1])
    primary = np.arange(9) != 8
    rows = catalogue_rows.make(1, ra, dec, score_lens=score.astype(np.float32), is_primary=primary)
    catalogue_rows.write(filled, "110.280", rows, SCORED_RUN)
    ra, dec, score = np.array([0.05, 0.25, 0.15]), np.array([60.08, 60.18, 60.1]), np.array([7.0, 0.5, np.nan])
    rows = catalogue_rows.make(2, ra, dec, score_lens=score.astype(np.float32))
    catalogue_rows.write(filled, "111.280", rows, SCORED_RUN)
    return filled


LENSES = Injected(
    np.array(["110.28"] * 4 + ["999.1"]),  # as a table that takes names of tiles for numbers
    np.array([359.95, 359.96, 359.97, 0.05, 0.05]),
    np.array([60.02, 60.02, 60.02, 60.08, 60.08]),
    {"theta_e": np.array([1.0, 2.0, 3.0, 4.0, 5.0]), "snr": np.array([10.0, 20.0, np.nan, 40.0, 50.0])},
)


def searched(catalogue: Catalogue, where: str | None = None, known: Positions = NOWHERE) -> Search:
    def scores(block: Block) -> Floats:
        return block.column("score_lens")

    return search(catalogue.snapshot(), LENSES, scores, ["score_lens"], where, known=known)


def test_known_lenses_are_neither_injected_nor_others(painted: Catalogue) -> None:
    ra, dec = np.array([359.9, 0.0, 359.95, 180.0]), np.array([60.0, 60.05 + 2 * ARCSEC, 60.02, -5.0])
    found = searched(painted, known=(ra, dec))
    # Those with the scores 0 and 4 belong to known lenses. A is left out: a known lens lies at its place, and might
    # be found for it; its object is no other one either.
    assert found.on_known == 1
    assert found.others.tolist() == [3, 2, 1, 0.5]
    assert (found.objects, found.known) == (5, 2)
    assert found.score.tolist() == [-np.inf, -np.inf, 1.0]
    with pytest.raises(ScannerError, match="All 4 injected lenses") as caught:
        searched(painted, known=(LENSES.ra, LENSES.dec))
    assert caught.value.code == "completeness.no_lens"


def test_lenses_and_others_are_counted_by_hand(painted: Catalogue) -> None:
    found = searched(painted)
    # A has an object with a score, B one without, C has none within 1 arcsec. D's own tile shows it with 1, and the
    # copy with 7 in the other tile is of the sky without it. E is on no tile.
    assert found.elsewhere == 1
    assert found.detected.tolist() == [True, True, False, True]
    assert found.score.tolist() == [2.5, -np.inf, -np.inf, 1.0]
    assert found.others.tolist() == [4, 3, 2, 1, 0.5, 0]
    assert found.objects == 7  # one of them has no score
    # Two rectangles in ra and dec across RA 0; the second is smaller, for its lowest object is at 60.08.
    area = sum(
        width * np.degrees(np.sin(np.radians(high)) - np.sin(np.radians(low)))
        for width, low, high in ((0.2, 60.0, 60.1), (0.2, 60.08, 60.18))
    )
    assert found.area == pytest.approx(area, rel=1e-6)

    at = measure.at_score(found, 1.0)
    assert (at.completeness.found, at.completeness.total, at.others) == (2, 4, 4)
    assert at.per_degree == pytest.approx(4 / area)
    assert measure.at_score(found, 2.5).completeness.found == 1
    assert measure.at_score(found, 2.6).completeness.found == 0


def test_each_lens_has_its_object_and_its_row(painted: Catalogue) -> None:
    table = painted.table(["tile", "ra", "object_id"])
    own = {round(one["ra"], 4): one["object_id"] for one in table if one["tile"] == "110.280"}
    found = searched(painted)
    assert found.object_id.tolist() == [own[359.95], own[359.96], injected.NO_OBJECT, own[0.05]]
    assert found.row.tolist() == [0, 1, 2, 3]
    without_a = searched(painted, known=(LENSES.ra[:1], LENSES.dec[:1]))
    assert without_a.row.tolist() == [1, 2, 3]
    assert without_a.object_id.tolist() == [own[359.96], injected.NO_OBJECT, own[0.05]]


def test_of_several_objects_the_highest_score_counts_and_then_the_lowest_id(tmp_path: Path) -> None:
    filled = catalogs.create(tmp_path / "embeddings", SCORED_RUN)
    ra, dec = np.array([0, 0, 0, 0, 0.1]), np.array([60, 60, 60, 60, 60.1]) + np.array([0.5, 0.2, 0.3, 0, 0]) * ARCSEC
    score = np.array([1.0, 2.0, 2.0, np.nan, 0.0])
    more = catalogue_rows.make(1, ra, dec, score_lens=score.astype(np.float32), is_primary=np.arange(5) != 3)
    catalogue_rows.write(filled, "110.280", more, SCORED_RUN)
    lens = Injected(np.array(["110.280"]), np.zeros(1), np.array([60.0]), {"theta_e": np.ones(1)})
    found = search(filled.snapshot(), lens, lambda block: block.column("score_lens"), ["score_lens"])
    table = filled.table(["object_id", "score_lens"])
    assert found.object_id.tolist() == [table["object_id"][table["score_lens"] == 2].min()]
    assert found.score.tolist() == [2.0]


def test_a_level_of_less_than_one_object_is_refused(painted: Catalogue) -> None:
    found = searched(painted)
    assert measure.at_level(found, 1 / found.area).others == 0
    with pytest.raises(ScannerError, match=r"30 other objects a square degree are 0\.6 on 0\.0199 ") as caught:
        measure.at_level(found, 30)
    assert caught.value.code == "rank.no_ordinary"
    assert f"{1 / found.area:.4g}" in caught.value.message
    advised = float(caught.value.hint.split("--per-degree ")[1].split()[0])
    assert advised == pytest.approx(1 / found.area, rel=0.01)
    assert measure.at_level(found, advised).others == 0


def test_counts_have_the_interval_of_garwood(painted: Catalogue) -> None:
    # Table 1 of Gehrels 1986, and textbooks, at 95 %.
    for count, low, high in ((0, 0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39), (100, 81.36, 121.6)):
        assert measure.poisson_interval(count) == pytest.approx((low, high), rel=1e-3)
    found = searched(painted)
    one = measure.at_score(found, 4.0)
    assert one.others == 1
    assert (one.per_degree_low, one.per_degree_high) == pytest.approx(
        (0.0253 / found.area, 5.572 / found.area), rel=1e-3
    )


@pytest.mark.parametrize(("lenses", "bins"), [(1, 1), (19, 1), (20, 2), (22, 2), (57, 5), (80, 8), (1000, 8)])
def test_bins_hold_about_ten_lenses(lenses: int, bins: int) -> None:
    values = np.append(np.random.default_rng(lenses).uniform(0.5, 2.5, lenses), np.nan)
    every = np.zeros(lenses + 1)
    painted = Injected(np.full(lenses + 1, ""), every, every, {"theta_e": values})
    found = Search(painted, every == 0, every, np.zeros(0), 0, 0, 1.0, 0, 0)
    sizes = [one.found.total for one in measure.in_bins(found, 0.5)["theta_e"]]
    assert (len(sizes), sum(sizes)) == (bins, lenses)
    assert min(sizes) >= min(lenses, 9)


def test_the_first_of_a_square_degree_are_those_with_fewer_others_above(painted: Catalogue) -> None:
    found = searched(painted)
    one = measure.at_level(found, 3 / found.area)  # A has two above it
    assert (one.completeness.found, one.others) == (1, 2)
    assert one.score == pytest.approx(2, abs=1e-6)
    assert measure.at_level(found, 2 / found.area).completeness.found == 0
    assert measure.at_level(found, 4 / found.area).completeness.found == 1  # D ties with the fourth, which counts above
    everything = measure.at_level(found, 1e9)
    assert (everything.completeness.found, everything.others) == (2, 6)
    assert [one.others for one in measure.fine_curve(found)] == [0, 1, 2, 3, 4, 5]
    assert [one.others for one in measure.curve(found)] == [round(level * found.area) - 1 for level in (100, 300)]


def test_bins_hold_each_lens_once(painted: Catalogue) -> None:
    bins = measure.in_bins(searched(painted), 1.0, bins=3)
    assert [(one.low, one.high) for one in bins["snr"]] == [(10, 10), (20, 20), (40, 40)]  # as many as values
    bins = measure.in_bins(searched(painted), 1.0, bins=2)
    assert [(one.low, one.high, one.detected.found, one.found.found, one.found.total) for one in bins["theta_e"]] == [
        (1.0, 2.5, 2, 1, 2),
        (2.5, 4.0, 1, 1, 2),
    ]
    assert sum(one.found.total for one in bins["snr"]) == 3  # one is not known


def test_a_filter_takes_lenses_and_others_and_restricts_the_area_by_position_alone(painted: Catalogue) -> None:
    found = searched(painted, "score_lens > 0.8 and score_lens < 3.5")
    assert found.others.tolist() == [3, 2, 1]
    assert found.detected.tolist() == [True, False, False, True]
    assert found.area == pytest.approx(searched(painted).area)
    assert searched(painted, "tile == '110.280'").area == pytest.approx(searched(painted).area / 2, rel=5e-3)


def test_more_others_than_are_kept_are_refused_and_not_guessed(
    painted: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(injected, "MOST", 3)
    found = searched(painted)
    assert found.others.tolist() == [4, 3, 2]
    assert measure.at_score(found, 2.1).others == 2
    # Others might tie with the last that is kept.
    for score in (2.0, 1.0):
        with pytest.raises(ScannerError, match="At least 3 other objects") as caught:
            measure.at_score(found, score)
        assert caught.value.code == "completeness.low_threshold"
    assert measure.at_level(found, 3 / found.area).others == 2
    for level in (4 / found.area, 1e9):
        with pytest.raises(ScannerError, match="only the highest 3 are counted") as caught:
            measure.at_level(found, level)
        assert caught.value.code == "completeness.low_threshold"
        assert "--per-degree" in caught.value.hint
    assert [one.others for one in measure.fine_curve(found)] == [0, 1, 2]
    assert [one.others for one in measure.curve(found)] == [round(100 * found.area) - 1]


def test_as_many_others_as_are_kept_are_all_counted(painted: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(injected, "MOST", 6)
    found = searched(painted)
    assert (len(found.others), found.objects, found.unscored) == (6, 7, 1)
    assert measure.at_score(found, 0.0).others == 6
    assert measure.at_level(found, 1e9).others == 6


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_threshold_or_level_that_is_not_finite_is_refused(painted: Catalogue, value: float) -> None:
    found = searched(painted)
    for measured in (measure.at_score, measure.at_level):
        with pytest.raises(ValueError, match="finite"):
            measured(found, value)


@pytest.mark.parametrize("level", [0.0, -1.0])
def test_a_level_that_is_not_positive_is_refused(painted: Catalogue, level: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        measure.at_level(searched(painted), level)


def test_objects_that_span_no_area_are_refused(painted: Catalogue) -> None:
    object_id = painted.table(["object_id"])["object_id"][0]
    with pytest.raises(ScannerError, match="no area") as caught:
        searched(painted, f"object_id == {object_id}")
    assert caught.value.code == "rank.no_ordinary"
    assert "--where" in caught.value.hint


def test_lenses_of_other_tiles_are_refused(painted: Catalogue) -> None:
    with pytest.raises(ScannerError) as caught:
        search(painted.snapshot(), LENSES[np.arange(5) == 4], lambda block: block.column("score_lens"), ["score_lens"])
    assert caught.value.code == "completeness.no_lens"
    assert match_tiles(np.array(["110.280", "110.28", "x", "nan"]), ["a", "110.280"]).tolist() == [1, 1, -1, -1]
    # Two tiles have this number.
    assert match_tiles(np.array(["1.20", "1.200", "1.2"]), ["1.20", "1.200"]).tolist() == [0, 1, -1]


def test_names_of_tiles_are_numbers_only_as_digits_and_digits() -> None:
    """A table of numbers drops zeros of 012.280 and 110.000; all other names are compared as they are written."""
    tiles = ["012.280", "110.000", "12_3", "100", "9813-4", "1.5e2"]
    table = ["12.28", "110.0", "1_23", "1e2", "100.0", "9813-4", "150.0", "110", "12_3"]
    assert match_tiles(np.array(table), tiles).tolist() == [0, 1, -1, -1, -1, 4, -1, -1, 2]
