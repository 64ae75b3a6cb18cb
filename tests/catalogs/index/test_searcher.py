"""Maps of a small index stay open between queries: they give the same answers, of the files that are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catalogs.catalogue import Catalogue
from catalogs.index import searcher, shards
from catalogs.index.build import IndexOptions, build_index
from catalogs.index.searcher import Searcher


@pytest.fixture
def built(survey: Catalogue) -> tuple[Path, list[shards.Shard]]:
    """The folder of an index of three shards, and these."""
    build_index(survey, IndexOptions(shard_rows=700))
    folder = survey.path / "index"
    searcher.close_all()
    return folder, [shards.read(path, 16) for path in sorted(folder.glob("shard-*.json"))]


def answers(folder: Path, listed: list[shards.Shard]) -> list[list[int]]:
    return [Searcher(one, folder).best(np.eye(16, dtype=np.float32)[:2], 20)[0][0].tolist() for one in listed]


def test_maps_stay_open_up_to_a_bound(built: tuple[Path, list[shards.Shard]], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, listed = built
    searcher.close_all()
    monkeypatch.setattr(searcher, "_LEAST_BYTES", 0)
    expected = answers(folder, listed)
    size = searcher._maps.held
    assert size == sum(one.files[1][0] + one.rows * shards.ITEM.itemsize for one in listed)
    assert answers(folder, listed) == expected
    assert Searcher(listed[0], folder)._vectors is Searcher(listed[0], folder)._vectors
    searcher.close_all()
    assert searcher._maps.held == 0
    # Of three shards there is room for one, and then for none.
    for bound, kept in ((size // 2, True), (size // 4, False)):
        monkeypatch.setattr(searcher._maps, "_limit", bound)
        monkeypatch.setattr(searcher, "_KEPT_BYTES", bound)
        assert answers(folder, listed) == expected
        assert (0 < searcher._maps.held <= bound) is kept
        searcher.close_all()


def test_few_files_stay_open_however_small_the_shards(
    built: tuple[Path, list[shards.Shard]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, listed = built
    searcher.close_all()
    monkeypatch.setattr(searcher._maps, "_limit", 2 * searcher._LEAST_BYTES)
    assert len(listed) > 2
    answers(folder, listed)
    assert len(searcher._maps._values) == 2
    searcher.close_all()


def test_a_file_that_takes_the_place_of_another_is_mapped_anew(built: tuple[Path, list[shards.Shard]]) -> None:
    folder, listed = built
    one = listed[0]
    before = Searcher(one, folder)
    for suffix in (shards.ROWS, shards.VECTORS):
        path = one.path(folder, suffix)
        path.with_suffix(".copy").write_bytes(path.read_bytes())
        path.with_suffix(".copy").replace(path)
    after = Searcher(one, folder)
    assert after._vectors is not before._vectors
    assert after.items.tolist() == before.items.tolist()
    path = one.path(folder, shards.ROWS)
    np.save(path.with_suffix(".npy"), before.items[:-1])
    with pytest.raises(ValueError, match="not those of its sidecar"):
        Searcher(one, folder)
