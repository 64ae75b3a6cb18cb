"""Fewer painted lenses: how many different ones a run sees, and that nothing else of an epoch changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from catalogs.errors import ScannerError
from training.config import Config, Data, Score
from training.cutouts.shards import Shard, make_table, write_manifest, write_shard
from training.loop.batches import Cutouts, open_cutouts

CLASSES = ("lens", "galaxy", "ring", "star")


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two painted shards of 20 and 10 lenses, every other with a ring on its host; 12 stars on the sky; 5 galaxies."""
    folder, entries = tmp_path_factory.mktemp("painted"), []
    for name, lenses, stars, first in (("a", 20, 8, 0), ("b", 10, 4, 100)):
        label, host = [], []
        for pair in range(lenses):
            some = ["lens", "galaxy", "ring"][: 2 + pair % 2]
            # Two lenses on each real host, and one on each host that was painted too.
            label, host = label + some, host + [pair // 2 if pair < 16 else -2 - pair] * len(some)
            if pair % 3 == 0 and label.count("star") < stars:
                label, host = [*label, "star"], [*host, -1]
        missing = stars - label.count("star")
        label, host = label + ["star"] * missing, host + [-1] * missing
        entries.append(_shard(folder, name, "field_painted", first, label=label, host=np.array(host)))
    entries.append(_shard(folder, "none", "field_painted", 0, label=[], host=np.empty(0)))
    entries.append(_shard(folder, "plain", "field", 900, label=[""] * 5, host=np.full(5, np.nan)))
    entries.append(_shard(folder, "held", "field_painted", 950, "validate", label=["lens", "galaxy"], host=np.zeros(2)))
    write_manifest(folder, entries, seed=0, window=32)
    return folder


def _shard(
    folder: Path, name: str, source: str, first: int, split: str = "train", **columns: object
) -> dict[str, object]:
    """Write a shard whose cutouts hold their own number, from ``first`` on."""
    count = len(columns["label"])  # type: ignore[arg-type]
    pixels = np.broadcast_to(np.arange(first, first + count, dtype=np.float32)[:, None, None, None], (count, 5, 32, 32))
    about = {"source": source, "split": split}
    return write_shard(folder, name, [Shard(pixels, make_table(count, **columns))], about, window=32)


def _open(folder: Path, tiny: Config, lenses: int, seed: int = 0, **repeat: int) -> Cutouts:
    config = replace(tiny, score=Score(classes=CLASSES), run=replace(tiny.run, seed=seed))
    return open_cutouts(folder, replace(config, data=Data(repeat, lenses)))


def _counts(cutouts: Cutouts) -> dict[str, dict[tuple[int, int], int]]:
    """How often an epoch has each row, by class."""
    counts: dict[str, dict[tuple[int, int], int]] = {name: {} for name in CLASSES}
    for (shard, row), kind in zip(cutouts.rows.tolist(), cutouts.kinds, strict=True):
        of_kind = counts[CLASSES[kind]]
        of_kind[shard, row] = of_kind.get((shard, row), 0) + 1
    return counts


@pytest.mark.parametrize(("lenses", "stars"), [(30, 12), (10, 4), (7, 3), (1, 1)])
def test_so_many_lenses_are_used_and_an_epoch_stays_as_long(
    painted: Path, tiny: Config, lenses: int, stars: int
) -> None:
    cutouts = _open(painted, tiny, lenses)
    of_class = _counts(cutouts)
    assert (len(of_class["lens"]), len(of_class["star"])) == (lenses, stars)
    assert (sum(of_class["lens"].values()), sum(of_class["star"].values())) == (30, 12)
    # A host comes as often as its lens, and so does the ring on it, if there is one.
    for (shard, row), times in of_class["lens"].items():
        assert of_class["galaxy"][shard, row + 1] == times
        assert of_class["ring"].get((shard, row + 2), times) == times
    plain = [
        times
        for (shard, _), times in of_class["galaxy"].items()
        if not cutouts.is_painted[cutouts.rows[:, 0] == shard][0]
    ]
    assert plain == [1] * 5
    assert sum(of_class["galaxy"].values()) == 30 + 5
    assert max(of_class["lens"].values()) - min(of_class["lens"].values()) <= 1
    # Pixels and classes belong together: cutouts hold their own number.
    first = {0: 0, 1: 100, 3: 900}  # by the number of the shard, in the order of names
    assert all(cutouts[i][0, 0, 0] == first[shard] + row for i, (shard, row) in enumerate(cutouts.rows.tolist()))
    distinct = {tuple(row) for row in cutouts.rows.tolist()}
    assert cutouts.sources == {"field_painted": len(distinct) - 5, "field": 5}


def test_more_lenses_include_fewer_and_another_seed_draws_others(painted: Path, tiny: Config) -> None:
    few, more, other = (_counts(_open(painted, tiny, *how))["lens"].keys() for how in ((5,), (15,), (5, 1)))
    assert few < more
    assert few != other


def test_all_lenses_are_what_there_is_without_a_limit(painted: Path, tiny: Config) -> None:
    repeat = {"field": 3, "field_painted": 2}
    every, unlimited = (_counts(_open(painted, tiny, lenses, **repeat)) for lenses in (30, 0))
    assert every == unlimited
    assert set(unlimited["lens"].values()) == {2}
    held_out = open_cutouts(painted, replace(tiny, data=Data(lenses=3)), "validate")
    assert len(held_out) == 2, "a limit is of the training"


def test_too_few_lenses_or_a_pair_that_is_broken_is_refused(painted: Path, tiny: Config, tmp_path: Path) -> None:
    with pytest.raises(ScannerError, match=r"asks for 31, .* hold 30") as few:
        _open(painted, tiny, 31)
    assert few.value.code == "config.bad"
    for label, host in ((["lens", "ring"], [3, 3]), (["lens", "galaxy"], [3, 4]), (["galaxy"], [3])):
        folder = tmp_path / "-".join(map(str, [*label, *host]))
        folder.mkdir()
        write_manifest(folder, [_shard(folder, "a", "x_painted", 0, label=label, host=np.array(host))], 0, window=32)
        with pytest.raises(ScannerError, match="row 0: a lens and its host") as bad:
            _open(folder, tiny, 1)
        assert bad.value.code == "shards.bad"
