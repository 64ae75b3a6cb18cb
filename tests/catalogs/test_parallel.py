"""BLAS computes on one core in a block, however blocks lie in one another, and has its threads back afterwards."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from catalogs.parallel import one_core
from catalogs.search import full_pass
from catalogs.store import rows
from tests.support import rounding
from tests.support.blas import set_threads, threads

with contextlib.suppress(ImportError):
    # Its BLAS has a number for each thread.
    import faiss  # noqa: F401


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    """Three threads, whatever the machine and the test before."""
    if not threads():
        pytest.skip("this BLAS has no number of threads, as that of macOS")
    before = set_threads(3)
    assert threads() == {3}
    yield
    after = threads()
    set_threads(before)
    assert after == {3}


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


def test_overlapping_blocks_of_other_threads_may_lie_in_one_of_this_thread() -> None:
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


def test_blocks_of_threads_may_overlap_in_any_way() -> None:
    """The block that began first ends first, in another thread than the one that ends last."""
    began, ended = threading.Event(), threading.Event()
    seen = []

    def first() -> None:
        with one_core():
            began.set()
            assert ended.wait(60)
            seen.append(threads())

    def second() -> None:
        assert began.wait(60)
        with one_core():
            seen.append(threads())
        ended.set()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(first), pool.submit(second)]:
            done.result()
    assert seen == [{1}, {1}]


def test_a_number_that_another_thread_has_set_is_no_obstacle() -> None:
    with ThreadPoolExecutor(1) as pool:
        # threadpoolctl lets this thread alone set it, until it ends.
        pool.submit(threadpool_limits, 2, "blas").result()
        with one_core():
            assert threads() == {1}
        pool.submit(threadpool_limits, 3, "blas").result()


def test_a_pass_computes_on_one_core(tmp_path: Path) -> None:
    catalogue = rounding.fill(tmp_path / "embeddings")
    snapshot, selection = catalogue.snapshot(), rows.selection(catalogue, None, None)
    seen = list(full_pass.over(snapshot, selection, lambda _: threads()))
    assert seen == [{1}] * 6


def test_answers_have_the_same_bits_whatever_the_number_of_threads() -> None:
    def answers(count: int) -> list[str]:
        # The kernels for AVX2 round by the number of threads, and processors with more have them too.
        ours = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": str(count)}
        command = [sys.executable, "-m", "tests.support.rounding"]
        done = subprocess.run(command, env={**os.environ, **ours}, capture_output=True, encoding="utf-8", check=True)
        return done.stdout.splitlines()

    by_one = answers(1)
    assert len(by_one) == 12
    assert answers(3) == by_one
