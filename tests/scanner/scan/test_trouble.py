"""Tiles that hang, change while they are read, or have pixels of another scale: values, each with its own code."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import catalogs
from scanner.encoder.encoder import Encoder
from scanner.images.tile_images import open_tile
from scanner.scan import prepare, reader_process
from scanner.scan.options import ScanOptions
from scanner.scan.reader_process import Reader
from scanner.scan.report import ScanReport
from scanner.scan.run import make_run, scan_tiles
from scanner.sources import sources
from scanner.survey import survey, tile_list
from scanner.survey.tile import Tile
from tests.support import small_tiles, tiny_encoder

UNIONS = survey.load("unions")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in small_tiles.names(2):
        small_tiles.write(tmp_path / "tiles", name, size=200, objects=10)
    return tmp_path / "tiles"


def scanned(listed: list[Tile], encoder: Encoder, out: Path, options: ScanOptions) -> ScanReport:
    run = make_run(UNIONS, encoder, options)
    return scan_tiles(listed, UNIONS, encoder, catalogs.create(out, run), run, options)


HANGING = """
import sys; sys.path[:] = {path!r}
import time
from scanner.scan import reader_process
prepare, hangs = reader_process.prepare, "210.292"
reader_process.prepare = lambda job, tile, room: time.sleep(9999) if tile.name == hangs else prepare(job, tile, room)
reader_process.serve({pipe}, {slots})
"""


def test_a_reader_that_hangs_is_killed_and_the_next_tile_is_read(
    folder: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a network disk does not answer. Tiles that are well may take their time here."""
    read = Reader.read

    def patient(self: Reader, tile: Tile, slot: int) -> object:
        limit = self._limit
        self._limit = limit if tile.name == "210.292" else 1000.0
        try:
            return read(self, tile, slot)
        finally:
            self._limit = limit

    monkeypatch.setattr(Reader, "read", patient)
    good = [tile_list.find(UNIONS, name, folder) for name in small_tiles.names(2)]
    hung = Tile("210.292", {"r": tmp_path / "CFIS.210.292.r.fits"})
    monkeypatch.setattr(reader_process, "_PROGRAM", HANGING)
    report = scanned([good[0], hung, good[1]], encoder, tmp_path / "out", ScanOptions(readers=1, time_limit=1.0))
    assert [(tile.tile, tile.status, tile.code) for tile in report.tiles] == [
        ("200.292", "done", ""),
        ("210.292", "failed", "tile.reader_hung"),
        ("201.292", "done", ""),
    ]
    assert "--time-limit" in report.failed[0].hint
    assert [failure.code for failure in catalogs.open(tmp_path / "out").failures()] == ["tile.reader_hung"]


def test_the_time_limit_is_no_setting_of_the_rows() -> None:
    assert ScanOptions(time_limit=1.0).settings() == ScanOptions().settings()


@pytest.mark.parametrize("change", ["grows", "touched", "replaced", "gone"])
def test_a_tile_that_changes_while_it_is_read_is_tried_again(
    folder: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = small_tiles.band_file(folder, "200.292", "z")
    shutil.copy2(path, spare := tmp_path / "spare")
    original = open_tile

    def meddle(*given: Any, **named: Any) -> Any:
        opened = original(*given, **named)
        if change == "grows":
            path.write_bytes(path.read_bytes() + bytes(2880))
        elif change == "touched":
            os.utime(path)
        elif change == "replaced":
            spare.replace(path)
        else:
            path.unlink()
        return opened

    monkeypatch.setattr(prepare, "open_tile", meddle)
    listed = [tile_list.find(UNIONS, "200.292", folder)]
    report = scanned(listed, encoder, tmp_path / "out", ScanOptions(readers=0))
    assert [tile.code for tile in report.failed] == ["tile.changed"]
    assert str(path) in report.failed[0].message
    monkeypatch.undo()
    if change != "gone":
        assert scanned(listed, encoder, tmp_path / "out", ScanOptions(readers=0)).count("done") == 1


def _room(shape: tuple[int, ...]) -> Any:
    return np.empty(shape, np.float32)


def test_an_error_that_a_change_caused_is_called_a_change(folder: Path) -> None:
    path = small_tiles.band_file(folder, "200.292", "r")

    def cut_short(shape: tuple[int, ...]) -> Any:
        path.write_bytes(path.read_bytes()[:9000])
        return _room(shape)

    job = prepare.ReaderJob(UNIONS, tiny_encoder.contract(), ScanOptions())
    (report,) = prepare.prepare(job, tile_list.find(UNIONS, "200.292", folder), cut_short)
    assert report.code == "tile.changed"  # type: ignore[union-attr]


def test_the_pixel_scale_is_checked_before_objects_are_looked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "detect", lambda *_, **__: pytest.fail("it looked for objects"))
    job = prepare.ReaderJob(UNIONS, replace(tiny_encoder.contract(), pixel_scale=0.3), ScanOptions())
    (report,) = prepare.prepare(job, tile_list.find(UNIONS, "200.292", folder))
    assert report.code == "tile.pixel_scale"  # type: ignore[union-attr]
