"""BLAS computes on one core in a block, however blocks lie in one another, and has its threads back afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import catalogs
from catalogs.catalogue import Catalogue
from catalogs.parallel import one_core
from catalogs.ranking import OUTLIER_METHODS
from catalogs.ranking.outliers import outliers
from catalogs.search import full_pass
from catalogs.store import rows
from tests.support import catalogue_rows
from tests.support.blas import threads
from tests.support.catalogue_rows import RUN

DIM = 256


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    """Three threads, whatever the machine and the test before."""
    if not threads():
        pytest.skip("this BLAS has no number of threads, as that of macOS")
    before = threadpool_limits(3, "blas")
    # At the end of a block, other threads may set the number again.
    with threadpool_limits(3, "blas"):
        assert threads() == {3}
    yield
    after = threads()
    with before:
        pass
    assert after == {3}


@pytest.fixture
def catalogue(tmp_path) -> Catalogue:
    run = replace(RUN, contract={**RUN.contract, "embedding_dim": DIM})
    filled = catalogs.create(tmp_path / "embeddings", run)
    rng = np.random.default_rng(3)
    # Of low rank: the eigenvectors of the rest are decided by rounding.
    directions = rng.normal(size=(20, DIM))
    for number in range(6):
        ra, dec = 50 + number + rng.uniform(0, 0.4, 120), 60 + rng.uniform(0, 0.4, 120)
        made = catalogue_rows.make(number, ra, dec, rng.normal(size=(120, 20)) @ directions)
        catalogue_rows.write(filled, f"{number}.280", made, run)
    return filled


def test_blocks_lie_in_one_another() -> None:
    with one_core():
        assert threads() == {1}
        with one_core():
            assert threads() == {1}
        assert threads() == {1}
    assert threads() == {3}


def test_a_block_that_fails_gives_the_threads_back() -> None:
    with pytest.raises(ZeroDivisionError), one_core():
        1 / 0  # noqa: B018
    assert threads() == {3}


def test_overlapping_blocks_of_other_threads_lie_in_one_of_this_thread() -> None:
    both = threading.Barrier(2)

    def one(_: int) -> set[int]:
        with one_core():
            both.wait()
            inside = threads()
        both.wait()
        with one_core():
            return inside | threads()

    with one_core(), ThreadPoolExecutor(2) as pool:
        assert list(pool.map(one, range(2))) == [{1}, {1}]
        assert threads() == {1}
    assert threads() == {3}


def test_another_thread_has_its_block_after_this_one_had() -> None:
    with one_core():
        pass

    def inside() -> set[int]:
        with one_core():
            return threads()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(inside).result() == {1}


def test_a_pass_computes_on_one_core(catalogue: Catalogue) -> None:
    snapshot, selection = catalogue.snapshot(), rows.selection(catalogue, None, None)
    seen = list(full_pass.over(snapshot, selection, lambda _: threads()))
    assert seen == [{1}] * 6


@pytest.mark.parametrize("method", OUTLIER_METHODS)
def test_outliers_are_the_same_bits_whatever_the_number_of_threads(catalogue: Catalogue, method: str) -> None:
    # Where the processor's kernels differ by the place in the product, as those for AVX2 do, they were not before.
    by_three = outliers(catalogue, method=method, k=200, sample=500)
    with threadpool_limits(1, "blas"):
        by_one = outliers(catalogue, method=method, k=200, sample=500)
    for column in ("object_id", "distance", "rarer_than"):
        assert np.asarray(by_three[column]).tobytes() == np.asarray(by_one[column]).tobytes()
