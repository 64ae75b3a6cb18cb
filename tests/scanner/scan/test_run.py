"""Scans of small tiles: the rows are right, whoever read them, and one command after another does what is left."""

from __future__ import annotations

import errno
import math
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import catalogs
from catalogs.errors import ScannerError
from scanner.encoder.encoder import Encoder
from scanner.images.tile_images import open_tile
from scanner.scan import prepare, reader_process
from scanner.scan.options import ScanOptions
from scanner.scan.report import ScanReport, TileReport
from scanner.sources import table_of_tile
from scanner.sources.dropped import Dropped
from scanner.survey.tile import Tile
from tests.support import small_tiles, tiny_encoder
from tests.support.scan_bench import IN_PROCESS, UNIONS, Bench


@dataclass
class Recorder:
    """A progress that remembers."""

    finishes: list[TileReport]
    embeds: int = 0

    def started(self, tile: str, objects: int) -> None:
        pass

    def embedded(self, objects: int) -> None:
        self.embeds += objects

    def finished(self, report: TileReport) -> None:
        self.finishes.append(report)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encoder]:
    """On two threads, so that batches end in any order."""
    path = tiny_encoder.write(tmp_path_factory.mktemp("model") / "encoder.onnx", tiny_encoder.contract())
    with Encoder(path, device="cpu", threads=2) as loaded:
        yield loaded


def test_every_row_is_the_vector_of_its_own_window(bench: Bench) -> None:
    """Windows cut here by hand, each band through its own WCS, embedded one by one."""
    bench.scan(["200.292"])
    rows = bench.rows("200.292")
    opened = open_tile(UNIONS, bench.tile("200.292"))
    size = bench.encoder.contract.window
    padded = np.pad(opened.flux, ((0, 0), (size, size), (size, size)), constant_values=np.nan)
    assert len(rows["ra"]) > 20
    for row in range(0, len(rows["ra"]), 5):
        window = np.empty((5, size, size), np.float32)
        for band, wcs in enumerate(opened.wcs):
            assert wcs is not None
            place = wcs.all_world2pix(rows["ra"][row], rows["dec"][row], 0)
            left, low = (math.floor(float(value) - size / 2 + 1) + size for value in place)
            window[band] = padded[band, low : low + size, left : left + size]
        expected = bench.encoder.embed(window[None])[0]
        np.testing.assert_allclose(rows["embedding"][row], expected, atol=2e-3)
        assert rows["valid_fraction"][row] == pytest.approx(np.isfinite(window).mean(), abs=1e-6)


def test_columns_say_where_and_what(bench: Bench) -> None:
    report = bench.scan(["200.292", "203.292"])
    rows = bench.rows("200.292")
    count = report.tiles[0].objects
    assert len(rows["ra"]) == count
    np.testing.assert_array_equal(rows["object_id"], 200292 * 1_000_000 + np.arange(count))
    assert set(rows["tile"]) == {"200.292"}
    assert set(rows["detection_band"]) == {"r"}
    assert set(rows["bands_present"]) <= {"ugriz", "giz"}
    assert rows["is_primary"].all()
    x, y = opened_wcs(bench, "200.292").all_world2pix(rows["ra"], rows["dec"], 0)
    np.testing.assert_allclose(x, rows["x"], atol=1e-3)
    np.testing.assert_allclose(y, rows["y"], atol=1e-3)
    three = bench.rows("203.292")
    assert set(three["bands_present"]) == {"gri"}
    assert three["valid_fraction"].max() == pytest.approx(0.6)
    assert np.isnan(three["flux_u"]).all()


def opened_wcs(bench: Bench, name: str) -> Any:
    return open_tile(UNIONS, bench.tile(name)).wcs[2]


def test_the_injected_sources_are_the_objects(bench: Bench, tmp_path: Path) -> None:
    """Positions and fluxes come back: each bright isolated source that was put in is a row near it."""
    folder = small_tiles.write(tmp_path / "one", "210.292", size=200, objects=1, seed=5)
    Bench(folder, bench.out, bench.encoder).scan(["210.292"])
    rng = np.random.default_rng(5)
    x, y = rng.uniform(20, 180, (2, 1))
    rows = bench.rows("210.292")
    nearest = np.hypot(rows["x"] - x, rows["y"] - y).min()
    assert nearest < 1.0


@pytest.mark.parametrize("readers", [1, 2])
def test_reading_processes_give_the_same_bytes(bench: Bench, tmp_path: Path, readers: int) -> None:
    names = ["200.292", "201.292", "203.292", "204.292"]
    bench.scan(names)
    other = Bench(bench.folder, tmp_path / "other", bench.encoder)
    report = other.scan(names, ScanOptions(readers=readers))
    assert report.count("done") == 4
    for name in names:
        file = f"tiles/{name}.parquet"
        assert (other.out / file).read_bytes() == (bench.out / file).read_bytes()


def test_one_process_serves_many_tiles(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []
    original = reader_process.Reader._start
    monkeypatch.setattr(reader_process.Reader, "_start", lambda self: (starts.append(1), original(self))[1])
    bench.scan(["200.292", "201.292", "202.292", "203.292"], ScanOptions(readers=1))
    assert len(starts) == 1


def test_nothing_is_started_where_all_is_done(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.scan(["200.292"])
    monkeypatch.setattr(reader_process.Reader, "_start", lambda self: pytest.fail("a process was started"))
    report = bench.scan(["200.292"], ScanOptions(readers=1))
    assert report.count("skipped") == 1


@pytest.mark.parametrize("readers", [0, 1])
def test_bad_tiles_are_values(bench: Bench, tmp_path: Path, readers: int) -> None:
    for name in ("200.292", "201.292", "202.292"):
        for band in "ugriz":
            target = small_tiles.band_file(tmp_path, name, band)
            target.write_bytes(small_tiles.band_file(bench.folder, name, band).read_bytes())
    bad = small_tiles.band_file(tmp_path, "201.292", "g")
    bad.write_bytes(b"no FITS at all" * 400)
    options = ScanOptions(readers=readers)
    mixed = Bench(tmp_path, bench.out, bench.encoder)
    report = mixed.scan(["200.292", "201.292", "555.400", "202.292"], options)
    assert {tile.tile: tile.code for tile in report.failed} == {
        "201.292": "tile.not_fits",
        "555.400": "tile.off_grid",
    }
    assert report.count("done") == 2
    assert all(tile.message and tile.hint for tile in report.failed)
    assert len(catalogs.open(bench.out).failures()) == 2


def test_an_error_that_nobody_foresaw_is_a_value_that_says_where(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    original = open_tile

    def odd(plan: Any, tile: Tile, **rest: Any) -> Any:
        if tile.name == "200.292":
            raise ZeroDivisionError("odd pixels")
        return original(plan, tile, **rest)

    monkeypatch.setattr(prepare, "open_tile", odd)
    report = bench.scan(["200.292", "201.292"])
    assert [tile.code for tile in report.failed] == ["tile.unexpected"]
    assert "ZeroDivisionError" in report.failed[0].message
    assert report.count("done") == 1


def test_a_tile_without_objects_is_done(bench: Bench) -> None:
    report = bench.scan(["204.292"])
    assert (report.count("done"), report.objects) == (1, len(bench.rows("204.292")["ra"]))
    assert bench.scan(["204.292"]).count("skipped") == 1


def test_windows_without_data_are_left_out_and_counted(bench: Bench, tmp_path: Path) -> None:
    """Positions of the user's own: one in a gap, one outside, three with pixels; ids keep their places."""
    from astropy.io import fits

    folder = small_tiles.write(tmp_path / "gap", "210.292", size=256, bands="r")
    with fits.open(small_tiles.band_file(folder, "210.292", "r"), mode="update") as file:
        file[0].data[:, :128] = 0
    (tmp_path / "210.292.csv").write_text("x,y\n30,40\n120,60\n200,80\n210,30\n900,10\n")
    options = replace(IN_PROCESS, sources=str(tmp_path / "{tile}.csv"))
    report = Bench(folder, bench.out, bench.encoder).scan(["210.292"], options)
    rows = bench.rows("210.292")
    assert (report.objects, report.tiles[0].dropped) == (3, 2)
    assert report.tiles[0].dropped_by == Dropped(off_tile=1, no_data=1)
    np.testing.assert_array_equal(rows["x"], [210, 120, 200])
    np.testing.assert_array_equal(rows["object_id"] % 1_000_000, [0, 2, 3])
    assert 0 < rows["valid_fraction"][1] < rows["valid_fraction"][0] == pytest.approx(0.2)


@pytest.mark.parametrize("pattern", ["{tile}.csv", "all.csv"])
def test_other_positions_are_scanned_anew(bench: Bench, tmp_path: Path, pattern: str) -> None:
    """A tile is done with the positions that its table has now, be it a table of its own or of all tiles."""
    table = tmp_path / pattern.replace("{tile}", "201.292")
    options = replace(IN_PROCESS, sources=str(tmp_path / pattern))
    table.write_text("x,y\n100,100\n120,200\n")
    assert bench.scan(["201.292"], options).count("done") == 1
    assert bench.scan(["201.292"], options).count("skipped") == 1
    table.write_text("x,y\n50,60\n100,100\n150,250\n")
    assert bench.scan(["201.292"], options).count("done") == 1
    np.testing.assert_array_equal(bench.rows("201.292")["x"], [50, 100, 150])
    assert bench.scan(["201.292"], options).count("skipped") == 1


@pytest.mark.parametrize("pattern", ["{tile}.csv", "all.csv"])
def test_positions_that_change_during_a_scan_are_scanned_anew(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    """What a receipt records is the table that was read, not the one that was there when the scan began."""
    table, read = tmp_path / pattern.replace("{tile}", "201.292"), table_of_tile.read
    options = replace(IN_PROCESS, sources=str(tmp_path / pattern))
    texts = ["x,y\n100,100\n", "x,y\n50,60\n150,250\n"]
    table.write_text(texts[0])

    def read_another(path: Path) -> Any:
        table.write_text(texts[1])
        return read(path)

    monkeypatch.setattr(table_of_tile, "read", read_another)
    assert bench.scan(["201.292"], options).count("done") == 1
    monkeypatch.undo()
    assert len(bench.rows("201.292")["x"]) == 2
    table.write_text(texts[0])
    assert bench.scan(["201.292"], options).count("done") == 1
    np.testing.assert_array_equal(bench.rows("201.292")["x"], [100])


def test_a_dense_grid_covers_the_tile(bench: Bench) -> None:
    report = bench.scan(["201.292"], replace(IN_PROCESS, sources="grid", stride=32))
    rows = bench.rows("201.292")
    assert report.objects == len(rows["x"]) == (300 // 32 + 1) ** 2 - (300 % 32 < 16) * (2 * (300 // 32) + 1)
    assert np.isnan(rows["flux_auto"]).all()
    assert np.isfinite(rows["flux_r"]).mean() > 0.9


@pytest.mark.parametrize("readers", [0, 1])
def test_a_list_is_taken_lazily(bench: Bench, readers: int) -> None:
    """An endless list is no more memory than a short one: a few tiles are taken ahead, not all."""
    taken = []

    def endless() -> Iterator[Tile]:
        while True:
            taken.append(1)
            yield bench.tile("204.292")

    recorder = Recorder([])
    stopped = RuntimeError("enough")

    def stop_after_three(report: TileReport) -> None:
        recorder.finishes.append(report)
        if len(recorder.finishes) == 3:
            raise stopped

    progress = Recorder([])
    progress.finished = stop_after_three  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="enough"):
        bench.scan_tiles(endless(), ScanOptions(readers=readers), progress)
    assert len(taken) < 20


def test_a_list_that_breaks_ends_the_scan_with_its_own_error(bench: Bench) -> None:
    def broken() -> Iterator[Tile]:
        yield bench.tile("200.292")
        raise ScannerError("list.unreadable", "The list ended in rubbish.")

    with pytest.raises(ScannerError, match="rubbish"):
        bench.scan_tiles(broken(), ScanOptions(readers=1))


def test_progress_hears_of_every_object_and_tile(bench: Bench) -> None:
    recorder = Recorder([])
    report = bench.scan(["200.292", "201.292", "555.400"], progress=recorder)
    assert tuple(recorder.finishes) == report.tiles
    assert recorder.embeds == report.objects
    took = report.seconds
    assert min(took.read, took.detect, took.cut, took.infer, took.write) > 0
    assert report.to_dict()["failed"] == 1


def test_it_runs_in_a_thread_too(bench: Bench) -> None:
    found: list[ScanReport] = []
    thread = threading.Thread(target=lambda: found.append(bench.scan(["200.292"], ScanOptions(readers=1))))
    thread.start()
    thread.join()
    assert found[0].count("done") == 1


def test_a_process_that_does_not_start_ends_the_scan(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_process, "_PROGRAM", "raise SystemExit(7)")
    with pytest.raises(ScannerError) as caught:
        bench.scan(["200.292"], ScanOptions(readers=1))
    assert caught.value.code == "reader.not_started"
    assert "--readers 0" in caught.value.hint


def test_a_process_that_is_killed_while_it_starts_is_started_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel kills what is large when memory is short: that must not end a scan of a week."""
    mark = tmp_path / "started"
    killed = (
        f"import os, pathlib; p = pathlib.Path({str(mark)!r}); p.exists() or p.touch() or os.kill(os.getpid(), 9); "
    )
    monkeypatch.setattr(reader_process, "_PROGRAM", killed + reader_process._PROGRAM)
    assert bench.scan(["200.292"], ScanOptions(readers=1)).count("done") == 1
    assert mark.exists()


def test_a_process_that_cannot_be_made_is_tried_again_and_then_ends_the_scan(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another may be made in the middle of a scan, where memory is short for a moment."""
    failures = [OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))]
    launch = reader_process.Reader._launch

    def short(self: reader_process.Reader) -> Connection:
        if failures:
            raise failures.pop()
        return launch(self)

    monkeypatch.setattr(reader_process.Reader, "_launch", short)
    assert bench.scan(["200.292"], ScanOptions(readers=1)).count("done") == 1
    failures += [OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))] * reader_process.STARTS
    with pytest.raises(ScannerError, match=re.escape(os.strerror(errno.ENOMEM))) as caught:
        bench.scan(["201.292"], ScanOptions(readers=1))
    assert caught.value.code == "reader.not_started"


def test_a_process_that_hangs_while_it_starts_ends_the_scan(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_process, "_PROGRAM", "import time; time.sleep(600)")
    monkeypatch.setattr(reader_process, "START_LIMIT", 0.2)
    monkeypatch.setattr(reader_process, "GRACE", 60.0)
    with pytest.raises(ScannerError) as caught:
        bench.scan(["200.292"], ScanOptions(readers=1))
    assert caught.value.code == "reader.not_started"


def test_what_is_wrong_with_every_tile_is_said_once(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(ScannerError) as caught:
        bench.scan(["200.292"], replace(IN_PROCESS, bands=("r", "Y")))
    assert caught.value.code == "survey.unknown_band"
    path = tiny_encoder.write(tmp_path / "y.onnx", tiny_encoder.contract(bands="gry"))
    with pytest.raises(ScannerError) as caught:
        Bench(bench.folder, tmp_path / "c", Encoder(path, device="cpu")).scan(["200.292"])
    assert caught.value.code == "model.other_bands"
    path = tiny_encoder.write(tmp_path / "u.onnx", tiny_encoder.contract(bands="u"))
    with pytest.raises(ScannerError) as caught:
        Bench(bench.folder, tmp_path / "d", Encoder(path, device="cpu")).scan(
            ["200.292"], replace(IN_PROCESS, bands=("r",))
        )
    assert caught.value.code == "model.other_bands"


def test_fewer_bands_are_missing_bands(bench: Bench) -> None:
    bench.scan(["200.292"], replace(IN_PROCESS, bands=("g", "r", "i")))
    rows = bench.rows("200.292")
    assert set(rows["bands_present"]) <= {"gri", "gi"}
    assert np.isnan(rows["flux_u"]).all()
    assert np.isfinite(rows["flux_g"]).all()


def test_a_model_of_three_bands_takes_its_own(bench: Bench, tmp_path: Path) -> None:
    path = tiny_encoder.write(tmp_path / "gri.onnx", tiny_encoder.contract(bands="irg"))
    three = Bench(bench.folder, tmp_path / "three", Encoder(path, device="cpu"))
    report = three.scan(["200.292"])
    rows = three.rows("200.292")
    assert report.objects == len(rows["ra"])
    assert rows["valid_fraction"].max() == 1.0
    assert "ugriz" in set(rows["bands_present"])
