"""Sidecars of the index as disks and editors leave them: refused by name; their tiles are searched exactly."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

import catalogs
from catalogs.errors import ScannerError
from catalogs.index import coverage, shards
from catalogs.index.build import IndexOptions, build_index
from tests.support.damage import flip_bytes

EDITS = {
    "name": ["../evil", "shard-99999", 5, None],
    "content": ["../../x", 5, None],
    "rows": [10**9, -1, "x", None],
    "files": [[], None, [[1, "a", 2]], 5],
    "tiles": [[], None, 5],
    "recipe": [None, {}],
}
RECIPE = {"engine": ["os", "../x", 5], "dims": [193, 0, "x", None], "trees": [-1], "effort": [0], "candidates": [-1, 0]}
TILE = {"rows": [10**6, -5, "x"], "tile": [5, "101.240"], "size": ["x"]}


def first(values: dict) -> dict:
    return values["tiles"][0]


CASES = [(lambda v: v, key, value) for key, values in EDITS.items() for value in values]
CASES += [(lambda v: v["recipe"], key, value) for key, values in RECIPE.items() for value in values]
CASES += [(first, key, value) for key, values in TILE.items() for value in values]


@pytest.fixture
def sidecar(survey):
    build_index(survey, IndexOptions(jobs=None))
    return survey.path / "index" / "shard-00000.json"


def nearest(catalogue) -> list[int]:
    return list(catalogue.neighbours(vector=np.ones(16), k=20)["object_id"])


@pytest.mark.parametrize(("part", "key", "value"), CASES)
def test_a_wrong_value_is_refused_and_the_answer_stays(survey, sidecar, part, key, value, caplog):
    before = nearest(survey)
    values = json.loads(sidecar.read_text())
    del values["crc32"]  # as in sidecars of earlier versions
    part(values)[key] = value
    sidecar.write_text(json.dumps(values))
    opened = catalogs.open(survey.path)
    assert nearest(opened) == before
    assert str(sidecar) in caplog.text
    [damage] = coverage.find_damage(opened)
    assert damage.code == "index.damaged"
    assert build_index(opened).built == ("shard-00000",)
    assert coverage.find_damage(opened) == []


def test_a_sidecar_of_an_earlier_version_is_valid(survey, sidecar):
    values = json.loads(sidecar.read_text())
    del values["crc32"]
    sidecar.write_text(json.dumps(values))
    assert coverage.find_damage(survey) == []
    assert build_index(survey).kept == ("shard-00000",)


@pytest.mark.parametrize("edit", [lambda v: v["tiles"].reverse(), lambda v: first(v).update(tile="105.240x")])
def test_tiles_that_changed_places_are_not_taken_for_each_other(survey, sidecar, edit, caplog):
    """The rows of a hit would be read from the wrong tile."""
    before = nearest(survey)
    values = json.loads(sidecar.read_text())
    edit(values)
    sidecar.write_text(json.dumps(values))
    assert nearest(survey) == before
    assert "its checksum differs" in caplog.text
    assert build_index(survey).built == ("shard-00000",)


@pytest.mark.parametrize("text", ["", "{", "{}", "null", "5", "[" * 100_000, "\ufffd\x00"])
def test_a_sidecar_that_is_none_is_refused_and_built_anew(survey, sidecar, text, caplog):
    before = nearest(survey)
    sidecar.write_text(text)
    assert nearest(survey) == before
    assert str(sidecar) in caplog.text
    assert build_index(survey).built == ("shard-00000",)


def test_a_pipe_is_not_waited_for(survey, sidecar):
    sidecar.unlink()
    os.mkfifo(sidecar)
    with pytest.raises(ScannerError) as refused:
        shards.read(sidecar, 16)
    assert refused.value.code == "index.damaged"
    assert build_index(survey).built == ("shard-00000",)


@pytest.mark.parametrize("suffix", shards.SUFFIXES)
def test_a_flipped_bit_in_the_middle_is_found_when_all_is_read(survey, sidecar, suffix):
    """The time of the file is as it was, so only its checksum tells."""
    path = next(sidecar.parent.glob(f"*{suffix}"))
    middle = path.stat().st_size // 2
    flip_bytes(path, range(middle, middle + 1))
    [damage] = coverage.find_damage(survey)
    assert (damage.code, path.name in damage.message) == ("index.damaged", True)


def test_a_file_without_its_sidecar_is_in_the_list(survey, sidecar):
    (sidecar.parent / "shard-00007-abc.ann").write_text("x" * 1000)
    assert [one.code for one in coverage.find_damage(survey)] == ["index.no_sidecar"]
