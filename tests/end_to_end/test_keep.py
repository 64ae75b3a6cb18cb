"""``scan-tiles --keep best:N --like``: a sweep that stores little, by one process and by many."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import catalogs
from tests.end_to_end.conftest import Scanner
from tests.support import small_tiles

NAMES = small_tiles.names(3)
BEST = 4


@pytest.fixture(scope="module")
def like(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Positions of two objects."""
    table = catalogs.open(catalogue).table(["ra", "dec"])[[3, 20]]
    path = tmp_path_factory.mktemp("like") / "lenses.csv"
    path.write_text("ra,dec\n" + "".join(f"{row['ra']},{row['dec']}\n" for row in table))
    return path


@pytest.fixture(scope="module")
def sweep(model: Path, field: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that looks at every sixteenth pixel."""
    listed = tmp_path_factory.mktemp("list") / "list.txt"
    listed.write_text("\n".join(NAMES))
    wanted = ["scan-tiles", "--tiles", listed, "--root", field, "--model", model, "--device", "cpu"]
    return [*map(str, wanted), "--sources", "grid", "--stride", "16", "--readers", "0", "--format", "json"]


@pytest.fixture(scope="module")
def kept(scanner: Scanner, sweep: list[str], like: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process keeps."""
    out = tmp_path_factory.mktemp("kept") / "out"
    done = scanner(*sweep, "--keep", f"best:{BEST}", "--like", like, "--out", out)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert [tile["objects"] for tile in report["tiles"]] == [BEST] * len(NAMES)
    return out


def contents(out: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted((out / "tiles").glob("*.parquet"))}


def test_the_best_of_each_tile_are_rows_of_the_whole_sweep(
    scanner: Scanner, sweep: list[str], kept: Path, tmp_path: Path
) -> None:
    assert scanner(*sweep, "--out", tmp_path / "all").code == 0
    for name in NAMES:
        few, all_rows = (pq.read_table(out / "tiles" / f"{name}.parquet") for out in (kept, tmp_path / "all"))
        assert len(few) == BEST < len(all_rows)
        wanted = few["object_id"].to_pylist()
        same = all_rows.filter([one in wanted for one in all_rows["object_id"].to_pylist()])
        assert repr(few.to_pylist()) == repr(same.to_pylist())  # NaN, too, is what it was


def test_the_same_command_goes_on_and_another_is_refused(
    scanner: Scanner, sweep: list[str], kept: Path, like: Path
) -> None:
    before = contents(kept)
    again = scanner(*sweep, "--keep", f"best:{BEST}", "--like", like, "--out", kept)
    assert (again.code, json.loads(again.out)["skipped"]) == (0, len(NAMES)), again.err
    for other in (["--keep", "best:9", "--like", like], []):
        refused = scanner(*sweep, *other, "--out", kept)
        assert refused.code == 1
        assert "[catalogue.other_keep]" in refused.err
    assert contents(kept) == before


def test_examples_of_a_catalogue(
    scanner: Scanner, sweep: list[str], like: Path, catalogue: Path, tmp_path: Path
) -> None:
    done = scanner(*sweep, "--keep", "best:2", "--like", like, "--like-catalog", catalogue, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert json.loads(done.out)["objects"] == 2 * len(NAMES)


@pytest.mark.parametrize("options", [["--keep", "best:5"], ["--like", "LIKE"], ["--keep", "5", "--like", "LIKE"]])
def test_half_a_wish_is_a_bad_command_line(
    scanner: Scanner, sweep: list[str], like: Path, tmp_path: Path, options: list[str]
) -> None:
    wanted = [str(like) if option == "LIKE" else option for option in options]
    refused = scanner(*sweep, *wanted, "--out", tmp_path / "out")
    assert refused.code == 2
    assert "best:" in refused.err
    assert not (tmp_path / "out").exists()


def test_many_workers_keep_what_one_keeps(
    scanner: Scanner, sweep: list[str], kept: Path, like: Path, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    out = tmp_path / "out"
    done = scanner(*sweep, "--keep", f"best:{BEST}", "--like", like, "--out", out, "--workers", 2)
    assert done.code == 0, done.err
    assert contents(out) == contents(kept)
    assert catalogs.open(out).info.keep == catalogs.open(kept).info.keep
