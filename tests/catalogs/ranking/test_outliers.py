"""Outliers: the distances are those of their definitions, the sample repeats, trouble has a name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from catalogs.catalogue import Catalogue
from catalogs.errors import ScannerError
from catalogs.ranking import OUTLIER_METHODS, outliers
from catalogs.search import random_sample
from catalogs.store import rows
from tests.support.catalogue_rows import DIM, Rows


@pytest.fixture
def odd(catalogue: Catalogue, make_rows: Callable[..., Rows], write_tile: Callable[..., None]) -> Catalogue:
    """Three tiles of 300 objects in a flat cloud; the first of each tile stands out of it."""
    rng = np.random.default_rng(8)
    for number in range(3):
        embedding = rng.normal(size=(300, DIM)) * np.geomspace(1, 0.01, DIM) + 2 * np.eye(DIM)[0]
        embedding[0, DIM - 1] = 6
        ra, dec = 10 + 0.5 * number + rng.uniform(0, 0.5, 300), 30 + rng.uniform(0, 0.5, 300)
        rows = make_rows(number, ra, dec, embedding, valid_fraction=np.ones(300, np.float32), flags=np.zeros(300, int))
        rows["valid_fraction"][0], rows["flags"][1] = 0.5, 2
        write_tile(catalogue, f"02{number}.240", rows)
    return catalogue


def unit(catalogue: Catalogue) -> tuple[np.ndarray, np.ndarray]:
    table = catalogue.table(["object_id", "embedding"])
    vectors = np.asarray(table["embedding"], float)
    return np.asarray(table["object_id"]), vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("method", OUTLIER_METHODS)
def test_what_stands_out_comes_first_with_its_flags(odd: Catalogue, method: str) -> None:
    table = outliers.outliers(odd, method=method, k=20)
    assert {0, 1_000_000, 2_000_000} <= set(table["object_id"][:5].tolist())
    assert np.all(np.diff(table["distance"]) <= 0)
    assert table["rarer_than"][0] > 0.99
    broken = (np.asarray(table["object_id"]) % 1_000_000) <= 1
    assert table["suspect"].tolist() == broken.tolist()
    assert "embedding" not in table.colnames


def test_a_missing_band_is_no_hole(
    odd: Catalogue, make_rows: Callable[..., Rows], write_tile: Callable[..., None]
) -> None:
    """Two of the model's three bands: a whole window has two thirds of its input pixels."""
    fractions, none = np.array([0.66, 0.6], np.float32), np.zeros(2, int)
    rows = make_rows(90, [12.0, 12.1], [30.0, 30.0], valid_fraction=fractions, flags=none, bands_present=["gr", "gr"])
    write_tile(odd, "090.240", rows)
    table = outliers.outliers(odd, k=2000, where="bands_present != 'zzz'")
    suspect = dict(zip(table["object_id"].tolist(), table["suspect"].tolist(), strict=True))
    assert (suspect[90_000_000], suspect[90_000_001]) == (False, True)


def test_mahalanobis_is_that_of_the_covariance(odd: Catalogue) -> None:
    ids, vectors = unit(odd)
    centred = vectors - vectors.mean(axis=0)
    covariance = centred.T @ centred / len(vectors)
    ridge = outliers.RIDGE * np.trace(covariance) / DIM
    inverse = np.linalg.inv(covariance + ridge * np.eye(DIM))
    expected = np.sqrt(np.einsum("nd,de,ne->n", centred, inverse, centred) / DIM)
    table = outliers.outliers(odd, k=2000)
    assert len(table) == 900
    by_id = dict(zip(ids.tolist(), expected, strict=True))
    np.testing.assert_allclose(table["distance"], [by_id[one] for one in table["object_id"].tolist()], rtol=2e-3)
    assert np.median(table["distance"]) == pytest.approx(1, abs=0.3)


def test_knn_is_that_of_all_distances(odd: Catalogue) -> None:
    ids, vectors = unit(odd)
    away = np.sort(np.linalg.norm(vectors[:, None] - vectors[None], axis=2), axis=1)[:, 5]
    table = outliers.outliers(odd, method="knn", neighbour=5, k=2000)
    by_id = dict(zip(ids.tolist(), away, strict=True))
    np.testing.assert_allclose(table["distance"], [by_id[one] for one in table["object_id"].tolist()], atol=3e-3)


def test_the_tenth_nearest_is_the_tenth_in_the_sample_and_out_of_it() -> None:
    """Points on an arc, so that distances follow their numbers: an object of the sample does not count itself."""
    angle = np.arange(40) * 0.01
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    ones = np.ones(1, np.float32)
    far = outliers.Knn(arc[:20], 10)
    assert far(arc[:1], ones)[0] == pytest.approx(2 * np.sin(0.05), rel=1e-3)  # its tenth other is number 10
    assert far(arc[29:30], ones)[0] == pytest.approx(2 * np.sin(0.095), rel=1e-3)  # numbers 19 to 10 are its ten
    assert far(3 * arc[29:30], 3 * ones)[0] == pytest.approx(2 * np.sin(0.095), rel=1e-3)


def test_what_is_left_out_by_where_neither_shows_nor_counts_as_usual(odd: Catalogue) -> None:
    table = outliers.outliers(odd, where="valid_fraction > 0.98 and flags & 2 == 0", k=2000)
    assert len(table) == 894
    assert not table["suspect"].any()


def test_a_sample_repeats_with_its_seed_and_stays_near_the_whole(odd: Catalogue) -> None:
    first, again, other = (outliers.outliers(odd, sample=300, seed=seed, k=30) for seed in (1, 1, 2))
    assert first["object_id"].tolist() == again["object_id"].tolist()
    assert first["distance"].tolist() == again["distance"].tolist()
    assert first["distance"].tolist() != other["distance"].tolist()
    assert {0, 1_000_000, 2_000_000} <= set(other["object_id"][:6].tolist())


def test_vectors_of_nan_and_copies_stay_out(
    odd: Catalogue, make_rows: Callable[..., Rows], write_tile: Callable[..., None]
) -> None:
    table = odd.table(["ra", "dec", "embedding"])[:1]
    embedding = np.stack([np.asarray(table["embedding"][0], float), np.full(DIM, np.nan)])
    write_tile(odd, "090.240", make_rows(90, [float(table["ra"][0])] * 2, [float(table["dec"][0])] * 2, embedding))
    answer = outliers.outliers(odd, k=2000)
    assert len(answer) == 900
    assert np.isfinite(answer["distance"]).all()


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ({"method": "forest"}, "outliers.bad_method"),
        ({"k": 0}, "query.bad_k"),
        ({"where": "snr > 1e9"}, "outliers.few_objects"),
        ({"where": "nothing > 1"}, "where.column"),
    ],
)
def test_a_bad_question_is_refused(odd: Catalogue, question: dict[str, object], code: str) -> None:
    with pytest.raises(ScannerError) as caught:
        outliers.outliers(odd, **question)
    assert caught.value.code == code


def test_an_empty_catalogue_has_no_outliers(catalogue: Catalogue) -> None:
    with pytest.raises(ScannerError) as caught:
        outliers.outliers(catalogue)
    assert caught.value.code == "outliers.few_objects"


def test_a_sample_draws_each_object_alike(odd: Catalogue) -> None:
    selection = rows.primary(odd, None)
    counts: dict[int, int] = {}
    for seed in range(60):
        sample = random_sample.draw(odd.snapshot(), selection, 90, seed)
        assert len(set(sample.object_id.tolist())) == 90
        for one in sample.object_id.tolist():
            counts[one] = counts.get(one, 0) + 1
    often = np.array([counts.get(one, 0) for one in unit(odd)[0].tolist()])
    assert often.mean() == pytest.approx(6)
    assert often.std() == pytest.approx(np.sqrt(60 * 0.1 * 0.9), rel=0.15)
    by_tile = often.reshape(3, 300).sum(axis=1)
    assert np.all(np.abs(by_tile - 1800) < 150)


def test_a_sample_finds_the_one_tile_that_a_filter_leaves(survey: Catalogue) -> None:
    sample = random_sample.draw(survey.snapshot(), rows.primary(survey, "tile == '104.240'"), 5000)
    assert len(sample) == 300
    assert set((sample.object_id // 1_000_000).tolist()) == {104}
    np.testing.assert_allclose(np.linalg.norm(sample.vectors, axis=1), 1, atol=1e-6)
