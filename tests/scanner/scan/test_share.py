"""Shares of a list: every tile in exactly one, equal sizes, the same for everybody, and none taken by mistake."""

from __future__ import annotations

import random

import pytest

from catalogs.errors import ScannerError
from scanner.scan import share
from scanner.scan.share import Share
from scanner.survey.tile import Tile

TILES = [Tile(f"{x}.{y}") for x in range(200, 240) for y in range(280, 300)]
ARRAY = {"SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_MAX": "7", "SLURM_ARRAY_TASK_COUNT": "4"}


@pytest.mark.parametrize("count", [1, 2, 7, 64, 900])
def test_every_tile_is_in_one_share_and_shares_are_equal(count: int) -> None:
    shares = [Share(number, count).of(TILES) for number in range(1, count + 1)]
    assert sorted(tile.name for each in shares for tile in each) == sorted(tile.name for tile in TILES)
    sizes = [len(each) for each in shares]
    assert max(sizes) - min(sizes) <= 1


def test_the_order_of_the_list_changes_nothing_but_the_order() -> None:
    shuffled = random.Random(0).sample(TILES, len(TILES))
    mine, theirs = Share(3, 8).of(TILES), Share(3, 8).of([*shuffled, shuffled[0]])
    assert {tile.name for tile in mine} == {tile.name for tile in theirs}
    assert [tile for tile in TILES if tile in mine] == mine


def test_neighbours_are_dealt_out() -> None:
    """A crowded corner of the sky is not one share's burden."""
    corner = {tile.name for tile in TILES[:80]}
    for number in range(1, 9):
        assert 2 <= sum(tile.name in corner for tile in Share(number, 8).of(TILES)) <= 22


@pytest.mark.parametrize("text", ["1/1", "3/8", " 8/8 "])
def test_a_share_is_written_as_a_fraction(text: str) -> None:
    assert str(share.parse(text)) == text.strip()


@pytest.mark.parametrize("text", ["0/8", "9/8", "3/0", "0/0", "-1/8", "3", "3/8/2", "a/b", "1.5/8", "", "/", "١/٢"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="share"):
        share.parse(text)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SLURM_ARRAY_TASK_ID": "4", **ARRAY}, "1/4"),
        ({"SLURM_ARRAY_TASK_ID": "7", **ARRAY}, "4/4"),
        ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "8"}, "3/8"),
        (
            {
                "SLURM_ARRAY_TASK_ID": "20",
                "SLURM_ARRAY_TASK_MIN": "0",
                "SLURM_ARRAY_TASK_MAX": "30",
                "SLURM_ARRAY_TASK_COUNT": "4",
            },
            "3/4",
        ),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, "3/4"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_STEP_ID": "0"}, "1/4"),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "16", "SLURM_STEP_NUM_TASKS": "2"}, "2/2"),
        ({"SLURM_ARRAY_TASK_ID": "5", **ARRAY, "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, "4/8"),
        ({"SLURM_ARRAY_TASK_ID": "5", **ARRAY, "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, "2/4"),
        ({"REPLICA_ID": "1", "REPLICA_COUNT": "3"}, "1/3"),
        ({"REPLICA_ID": "3", "REPLICA_COUNT": "3"}, "3/3"),
    ],
)
def test_batch_systems_say_which_shard_this_is(environment: dict[str, str], expected: str) -> None:
    assert str(share.from_environment(environment)) == expected


@pytest.mark.parametrize(
    ("environment", "code", "said"),
    [
        ({}, "shard.no_environment", "--shard auto"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, "shard.no_environment", "--shard auto"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, "shard.bad_environment", "not a task of srun"),
        ({"SLURM_PROCID": "4", "SLURM_NTASKS": "4"}, "shard.bad_environment", "5 of 4"),
        ({"REPLICA_ID": "0", "REPLICA_COUNT": "3"}, "shard.bad_environment", "0 of 3"),
        ({"REPLICA_ID": "4", "REPLICA_COUNT": "3"}, "shard.bad_environment", "4 of 3"),
        ({"REPLICA_ID": "2"}, "shard.bad_environment", "REPLICA_COUNT is not"),
        ({"REPLICA_ID": "two", "REPLICA_COUNT": "3"}, "shard.bad_environment", "not a number"),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "0"}, "shard.bad_environment", "COUNT is not"),
        (
            {
                "SLURM_ARRAY_TASK_ID": "3",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_MAX": "7",
                "SLURM_ARRAY_TASK_COUNT": "3",
            },
            "shard.bad_environment",
            "gaps",
        ),
        (
            {
                "SLURM_ARRAY_TASK_ID": "9",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_MAX": "9",
                "SLURM_ARRAY_TASK_COUNT": "4",
            },
            "shard.bad_environment",
            "gaps",
        ),
    ],
)
def test_no_share_is_taken_by_mistake(environment: dict[str, str], code: str, said: str) -> None:
    with pytest.raises(ScannerError) as caught:
        share.from_environment(environment)
    assert caught.value.code == code
    assert said in caught.value.message
    assert "--shard" in caught.value.hint
