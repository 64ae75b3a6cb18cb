"""An index built by several machines, each its share of the shards, is that of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import catalogs
from catalogs import atomic
from catalogs.index import assignment
from catalogs.index.build import IndexOptions, build_index, count_indexed_rows
from catalogs.search import candidates

ROOM = 350  # a shard a tile: six in all
SCRIPT = """
import sys
from catalogs.index.build import IndexOptions, build_index; import catalogs
share = tuple(map(int, sys.argv[2].split("/")))
print(*build_index(catalogs.open(sys.argv[1]), IndexOptions(shard_rows=350, share=share)).built)
"""


def data(survey: catalogs.Catalogue) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (survey.path / "index").glob("shard-*")}


def start(survey: catalogs.Catalogue, share: str, script: str = SCRIPT) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", script, str(survey.path), share]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def alone(survey: catalogs.Catalogue) -> dict[str, bytes]:
    """The files of an index that one machine built, which are then taken away."""
    build_index(survey, IndexOptions(shard_rows=ROOM))
    found = data(survey)
    for path in (survey.path / "index").iterdir():
        path.unlink()
    return found


def test_shares_one_after_the_other_make_the_index_of_one_machine(survey, alone):
    reports = [build_index(survey, IndexOptions(shard_rows=ROOM, share=(number, 4))) for number in (3, 1, 4, 2)]
    built = [name for report in reports for name in report.built]
    assert sorted(built) == [f"shard-{number:05d}" for number in range(6)]  # each by one, and none left over
    assert [len(report.built) for report in reports] == [1, 2, 1, 2]
    assert data(survey) == alone
    last = build_index(survey, IndexOptions(shard_rows=ROOM))
    assert (last.built, last.rows) == ((), 1800)
    assert not (survey.path / "index" / assignment.FILE).exists()


def test_shares_at_once_make_the_index_of_one_machine(survey, alone):
    machines = [start(survey, f"{number}/3") for number in (1, 2, 3)]
    built = [machine.communicate()[0].split() for machine in machines]
    assert [len(names) for names in built] == [2, 2, 2]
    assert data(survey) == alone
    assert build_index(survey, IndexOptions(shard_rows=ROOM)).built == ()


def test_what_no_share_built_is_searched_exactly_and_made_by_the_last_run(survey, alone, monkeypatch):
    monkeypatch.setattr(candidates, "EXACT_NUMBERS", 0)
    monkeypatch.setattr(candidates, "FEW_ROWS", 0)
    expected = list(survey.neighbours(vector=np.arange(16.0), k=8)["object_id"])
    build_index(survey, IndexOptions(shard_rows=ROOM, share=(2, 3)))
    killed = start(survey, "1/3", SCRIPT.replace("print", "import os; os.kill(os.getpid(), 9); print", 1))
    assert killed.wait() == -signal.SIGKILL
    found = survey.neighbours(vector=np.arange(16.0), k=8)
    assert list(found["object_id"]) == expected
    assert 600 <= found.meta["rows_indexed"] < 1800
    build_index(survey, IndexOptions(shard_rows=ROOM))
    found = survey.neighbours(vector=np.arange(16.0), k=8)
    assert (list(found["object_id"]), found.meta["rows_indexed"]) == (expected, 1800)
    assert data(survey) == alone


def test_more_machines_than_shards_leave_some_without_work(survey):
    build_index(survey, IndexOptions(shard_rows=10_000, share=(1, 2)))
    report = build_index(survey, IndexOptions(shard_rows=10_000, share=(2, 2)))
    assert (report.built, report.rows, report.recipe) == ((), 0, None)
    assert count_indexed_rows(survey) == 1800


def test_a_share_leaves_the_shards_of_others_alone(survey, make_rows, write_tile):
    build_index(survey, IndexOptions(shard_rows=ROOM))
    before = data(survey)
    for tile in ("100.240", "101.240"):
        rows = make_rows(int(tile[:3]), np.linspace(0, 0.4, 250), np.linspace(30, 30.4, 250))
        write_tile(survey, tile, rows)
    assert build_index(survey, IndexOptions(shard_rows=ROOM, share=(1, 6))).built == ("shard-00000",)
    after = data(survey)
    gone = {name for name in before if name not in after}
    assert {name[:11] for name in gone} == {"shard-00000"}  # its earlier files, and only those
    assert {name for name in before if before[name] != after.get(name)} <= gone | {"shard-00000.json"}
    assert build_index(survey, IndexOptions(shard_rows=ROOM)).built == ("shard-00001",)


def test_the_first_to_come_decides_where_tiles_go_whatever_arrives_meanwhile(survey, make_rows, write_tile):
    build_index(survey, IndexOptions(shard_rows=ROOM, share=(1, 2)))
    write_tile(survey, "099.240", make_rows(99, np.linspace(0, 0.4, 30), np.linspace(30, 30.4, 30)))
    second = build_index(survey, IndexOptions(shard_rows=ROOM, share=(2, 2)))
    assert {"shard-00001", "shard-00003", "shard-00005"} <= set(second.built)
    assert len(build_index(survey, IndexOptions(shard_rows=ROOM)).built) <= 1  # the shard with room for the new tile
    assert count_indexed_rows(survey) == 1830


def test_a_plan_that_cannot_be_read_is_made_anew(survey, alone):
    build_index(survey, IndexOptions(shard_rows=ROOM, share=(1, 2)))
    for text in ("{", "[]", '{"shard-00000": 3}'):
        (survey.path / "index" / assignment.FILE).write_text(text)
        build_index(survey, IndexOptions(shard_rows=ROOM, share=(1, 2)))
    build_index(survey, IndexOptions(shard_rows=ROOM, share=(2, 2)))
    assert data(survey) == alone


def test_a_run_of_the_whole_waits_for_shares(tmp_path):
    order: list[str] = []

    def whole() -> None:
        with atomic.locked(tmp_path / ".lock"):
            order.append("whole")

    with atomic.locked(tmp_path / ".lock", shared=True), atomic.locked(tmp_path / ".lock", shared=True):
        thread = threading.Thread(target=whole)
        thread.start()
        thread.join(0.3)
        order.append("shares")
    thread.join()
    assert order == ["shares", "whole"]


@pytest.mark.parametrize("wrong", [{"share": (0, 3)}, {"share": (4, 3)}, {"share": (1, 3), "target": 0.9}])
def test_a_share_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="share"):
        IndexOptions(**wrong)
