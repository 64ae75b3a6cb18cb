"""A Lance dataset in an object store: the answers of the same dataset on a disk, and errors that name the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import catalogs
from catalogs.catalogue import Catalogue
from catalogs.errors import ErrorCode, ScannerError
from tests.support import s3_server


@pytest.fixture
def store(exported: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3_server.Store]:
    """The folder that the dataset lies in is the bucket."""
    with s3_server.serve(exported.parents[1]) as serving:
        for name, value in serving.environment.items():
            monkeypatch.setenv(name, value)
        yield serving


@pytest.fixture
def address(exported: Path) -> str:
    return f"lance:s3://{exported.parent.name}/{exported.name}"


def test_answers_are_those_of_the_disk(catalogue: Catalogue, dataset, store: s3_server.Store, address: str) -> None:
    remote = catalogs.open(address)
    assert remote.info == dataset.info
    asked = catalogue.table(["object_id"], where="is_primary")["object_id"][::500].tolist()
    for one in asked:
        for where in (None, "mag_r < 20"):
            here, there = (each.neighbours(object_id=one, k=5, where=where) for each in (dataset, remote))
            assert np.array_equal(here["object_id"], there["object_id"])
            assert np.array_equal(here["similarity"], there["similarity"])
    assert store.asked > 0


def test_a_dataset_that_is_not_there(store: s3_server.Store, address: str) -> None:
    with pytest.raises(ScannerError) as refused:
        catalogs.open(f"{address}-of-another")
    assert refused.value.code == ErrorCode.CATALOGUE_MISSING


@pytest.mark.parametrize("answer", [(403, "AccessDenied"), (403, "InvalidAccessKeyId"), (400, "ExpiredToken")])
def test_a_store_that_denies_access(store: s3_server.Store, address: str, answer: tuple[int, str]) -> None:
    store.refuses = answer
    with pytest.raises(ScannerError, match="s3://") as refused:
        catalogs.open(address)
    assert refused.value.code == ErrorCode.REMOTE_DENIED
    assert "AWS_ACCESS_KEY_ID" in refused.value.hint


def test_a_store_that_does_not_answer(store: s3_server.Store, address: str) -> None:
    store.server.shutdown()
    store.server.server_close()
    with pytest.raises(ScannerError, match="does not answer") as refused:
        catalogs.open(address)
    assert refused.value.code == ErrorCode.REMOTE_BROKEN


def test_a_store_that_denies_access_later(dataset, store: s3_server.Store, address: str) -> None:
    """As where a key expires while a server runs: the dataset is not called damaged."""
    remote = catalogs.open(address)
    store.refuses = 400, "ExpiredToken"
    with pytest.raises(ScannerError) as refused:
        remote.neighbours(object_id=int(dataset.table(["object_id"])["object_id"][0]), k=5)
    assert refused.value.code == ErrorCode.REMOTE_DENIED
