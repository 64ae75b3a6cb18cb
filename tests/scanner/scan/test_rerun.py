"""A second scan does what is left, and anew what was made otherwise; what is in the way is replaced or named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import catalogs
from catalogs.store.tile_writer import RUN_KEY
from scanner.scan.options import ScanOptions
from scanner.sources import DETECTION_VERSION
from tests.support.damage import damage_column
from tests.support.scan_bench import IN_PROCESS, Bench


def test_the_rest_is_done_on_a_rerun_and_other_settings_are_done_anew(bench: Bench) -> None:
    first = bench.scan(["200.292", "201.292"])
    again = bench.scan(["200.292", "201.292", "202.292"])
    other = bench.scan(["200.292"], replace(IN_PROCESS, min_snr=20.0))
    back = bench.scan(["200.292"], replace(IN_PROCESS, min_snr=20.0))
    assert [report.count("done") for report in (first, again, other, back)] == [2, 1, 1, 0]
    assert len(bench.rows("200.292")["ra"]) == other.objects < first.tiles[0].objects


def test_a_tile_with_damaged_pages_is_done_anew_when_it_is_verified(bench: Bench) -> None:
    """Its footer is sound, so only a run that reads all of it notices."""
    bench.scan(["200.292", "201.292"])
    path = catalogs.open(bench.out).tile_path("200.292")
    sound, neighbour = path.read_bytes(), path.with_name("201.292.parquet").stat()
    damage_column(path, "ra")
    assert bench.scan(["200.292", "201.292"]).count("skipped") == 2
    report = bench.scan(["200.292", "201.292"], replace(IN_PROCESS, verify=True))
    assert [(tile.tile, tile.status) for tile in sorted(report.tiles, key=lambda one: one.tile)] == [
        ("200.292", "done"),
        ("201.292", "skipped"),
    ]
    assert path.read_bytes() == sound
    assert path.with_name("201.292.parquet").stat().st_mtime_ns == neighbour.st_mtime_ns


@pytest.mark.parametrize("put", [lambda path: os.mkfifo(path), lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_is_replaced_by_the_tile(bench: Bench, put: Callable[[Path], None]) -> None:
    bench.scan(["201.292"])
    path = catalogs.open(bench.out).tile_path("200.292")
    put(path)
    assert bench.scan(["200.292"]).count("done") == 1
    assert path.is_file()
    assert not path.is_symlink()


def test_a_folder_in_the_place_of_a_tile_fails_that_tile_alone(bench: Bench) -> None:
    bench.scan(["202.292"])
    folder = catalogs.open(bench.out).tile_path("200.292")
    folder.mkdir()
    report = bench.scan(["200.292", "201.292"])
    assert [(tile.tile, tile.code) for tile in report.failed] == [("200.292", "tile.damaged")]
    assert str(folder) in report.failed[0].message
    assert "Remove it" in report.failed[0].hint
    assert report.count("done") == 1


def test_a_tile_says_on_what_its_vectors_were_made(bench: Bench) -> None:
    """A GPU's differ in the fifth decimal: no reason to do a tile again, but to be told."""
    bench.scan(["200.292"])
    said = pq.read_metadata(catalogs.open(bench.out).tile_path("200.292")).metadata[RUN_KEY.encode()]
    assert json.loads(said)["extra"] == {"provider": "CPUExecutionProvider"}


def test_tiles_of_another_recipe_are_done_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version of this software that finds other objects does not leave half of a catalogue as it was."""
    bench.scan(["200.292", "201.292"])
    monkeypatch.setattr("scanner.scan.options.DETECTION_VERSION", DETECTION_VERSION + 1)
    assert [bench.scan(["200.292", "201.292"]).count("done") for _ in range(2)] == [2, 0]


def test_readers_are_no_setting_of_the_rows(bench: Bench) -> None:
    assert bench.run(ScanOptions(readers=0)).digest == bench.run(ScanOptions(readers=7)).digest
    assert bench.run(ScanOptions(stride=8)).digest == bench.run(ScanOptions()).digest
    assert bench.run(ScanOptions(sources="grid", stride=8)).digest != bench.run(ScanOptions(sources="grid")).digest
    assert bench.run(ScanOptions(bands=("g", "r"))).digest != bench.run(ScanOptions()).digest
