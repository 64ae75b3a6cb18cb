"""The number of a tile is in the ids of its objects: it is the tile's own, or the tile is refused."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogs.errors import ErrorCode, ScannerError
from scanner.survey import survey, tile, tile_list
from scanner.survey.tile import Tile, refuse_shared_numbers, tile_number

LARGEST = 2**63 // 1_000_000
OWN = """
name = "own"
pixel_scale = 0.2
detection = ["r"]
tile = "{name}"
fields = { name = "[0-9pm.,-]+" }
[bands.r]
files = ["{name}.fits"]
hdu = 0
zero_point = 27
"""


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("217.292", 217292),
        ("001.180", 1180),
        ("1238p245", 12381245),
        ("0001m002", 10002),
        ("9813-3,4", 981334),
        ("0-0,0", 0),
    ],
)
def test_published_ids_start_with_the_digits_of_the_tile(name: str, number: int) -> None:
    assert tile_number(name) == number


@pytest.mark.parametrize(
    ("one", "other"),
    [("981.34", "9813.4"), ("12-3", "1-23"), ("1_2_34", "12_3_4"), ("7", "07"), ("1.23", "01.23"),
     ("12-3,4", "012-3,4"), ("1p2", "112"), ("1m2", "102"), ("002583-2-0136", "00258-32-0136"),
     ("cosmos1", "cosmos-1")],
)  # fmt: skip
def test_names_of_the_same_digits_have_numbers_of_their_own(one: str, other: str) -> None:
    assert tile_number(one) != tile_number(other)


def test_tracts_and_patches_have_numbers_of_their_own() -> None:
    names = [f"{tract}{mark}{patch}" for tract, mark, patch in product(range(1, 1000), ".-", range(100))]
    names += [
        f"{run:06d}-{camera}-{field:04d}" for run, camera, field in product(range(2583, 2603), range(1, 7), range(99))
    ]
    numbers = {tile_number(name) for name in names}
    assert len(numbers) == len(names)
    assert min(numbers) >= 0
    assert max(numbers) < LARGEST


@given(st.lists(st.text("0123456789.,_+-pm", min_size=1, max_size=10), unique=True, max_size=50))
def test_short_names_of_digits_never_share_a_number(names: list[str]) -> None:
    own = [name for name in names if not tile._BUILT_IN.fullmatch(name)]
    assert len({tile_number(name) for name in own}) == len(own)
    assert all(10**12 < tile_number(name) < LARGEST for name in own)


@given(st.text(max_size=64))
def test_any_name_has_a_number_that_leaves_room_for_the_rows(name: str) -> None:
    assert 0 <= tile_number(name) < LARGEST


def test_a_tile_with_the_number_of_another_is_refused_by_name() -> None:
    first, second, broken = (
        Tile("217.292"),
        Tile("2172-9,2"),
        Tile("x", problem=ScannerError(ErrorCode.LIST_BAD_LINE, "")),
    )
    assert tile_number(first.name) == tile_number(second.name)
    checked = refuse_shared_numbers([first, second, broken, first])
    assert [one.problem.code if one.problem else None for one in checked] == [
        None,
        "tile.same_number",
        "list.bad_line",
        None,
    ]
    assert checked[1].problem is not None
    assert "2172-9,2" in checked[1].problem.message
    assert "217.292" in checked[1].problem.message
    assert refuse_shared_numbers([second], ["217.292"])[0].problem is not None
    assert refuse_shared_numbers([second], ["2172-9,2"])[0].problem is None


def test_a_list_holds_no_two_tiles_of_one_number(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(OWN, encoding="utf-8")
    for name in ("217.292", "2172-9,2", "2172.92"):
        (tmp_path / f"{name}.fits").touch()
    own = survey.load(tmp_path / "own.toml")
    tiles = tile_list.parse(tile_list.clean(["217.292", "2172-9,2", "2172.92"]), own, tmp_path)
    assert [one.problem.code if one.problem else None for one in tiles] == [None, "tile.same_number", None]
