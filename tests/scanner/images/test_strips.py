"""A tile read in strips: the same rows as ever, to the byte, and never more of it in memory than a strip."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import catalogs
from scanner.encoder.encoder import Encoder
from scanner.images import sections
from scanner.images.background_mesh import Mesh
from scanner.images.strips import read_strips
from scanner.scan import prepare, reader_process
from scanner.scan.options import LOW, NORMAL, ScanOptions
from scanner.scan.prepare import Prepared
from scanner.scan.report import ScanReport, TileReport
from scanner.scan.run import make_run, scan_tiles
from scanner.sources import table_of_tile
from scanner.sources.detect import find_objects
from scanner.survey import survey, tile_list
from tests.support import small_tiles

UNIONS = survey.load("unions")
NAMES = ("200.292", "201.292")
SIZE = 620


@pytest.fixture(autouse=True)
def small_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips of 155 rows for tiles of 620, in this process."""
    monkeypatch.setattr(sections, "SECTION", (160, 300))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of 620 px; the first has a variance in g that tells nothing, the second lacks bands, has an empty half in r
    and a z image 40 px away from the others."""
    made = tmp_path_factory.mktemp("unions")
    small_tiles.write(made, NAMES[0], size=SIZE, objects=150)
    with fits.open(small_tiles.band_file(made, NAMES[0], "g"), mode="update") as file:
        file[3].data[:] = 0
    small_tiles.write(made, NAMES[1], size=SIZE, objects=150, bands="rz")
    with fits.open(small_tiles.band_file(made, NAMES[1], "r"), mode="update") as file:
        file[0].data[: SIZE // 2] = 0
    with fits.open(small_tiles.band_file(made, NAMES[1], "z"), mode="update") as file:
        file[1].header["CRPIX2"] += 40
        file[3].data[: SIZE // 3] = np.nan
    return made


def scanned(folder: Path, encoder: Encoder, out: Path, options: ScanOptions) -> ScanReport:
    run = make_run(UNIONS, encoder, options)
    listed = [tile_list.find(UNIONS, name, folder) for name in NAMES]
    return scan_tiles(listed, UNIONS, encoder, catalogs.create(out, run), run, options)


def assert_same_bytes(folder: Path) -> None:
    for name in NAMES:
        file = Path("tiles") / f"{name}.parquet"
        assert (folder / NORMAL / file).read_bytes() == (folder / LOW / file).read_bytes()


@pytest.mark.parametrize("asked", [{}, {"sources": "grid", "stride": 48}, {"sources": "{tile}.csv"}, {"bands": ("z",)}])
def test_strips_give_the_same_bytes(folder: Path, encoder: Encoder, tmp_path: Path, asked: dict[str, Any]) -> None:
    if asked.get("sources", "").endswith("csv"):
        asked = {"sources": str(tmp_path / "{tile}.csv")}
        rows = np.random.default_rng(3).uniform(-30, SIZE + 30, (300, 2))
        for name in NAMES:
            np.savetxt(tmp_path / f"{name}.csv", rows, delimiter=",", header="x,y", comments="")
    reports = []
    for memory in (NORMAL, LOW):
        options = ScanOptions(readers=0, memory=memory, **asked)
        reports.append(scanned(folder, encoder, tmp_path / memory, options))
    normal, low = reports
    assert normal.objects == low.objects > 100
    for before, after in zip(normal.tiles, low.tiles, strict=True):
        assert (before.status, before.objects, before.dropped) == (after.status, after.objects, after.dropped)
    assert_same_bytes(tmp_path)


def test_positions_that_change_between_strips_are_refused(
    folder: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of one tile would be of two tables."""
    table, read, numbers = tmp_path / "all.csv", table_of_tile.read, itertools.count(300)
    table.write_text("x,y\n1,1\n", encoding="utf-8")

    def read_another(path: Path) -> Any:
        table.write_text(f"x,y\n{next(numbers)},300\n", encoding="utf-8")
        return read(path)

    options = ScanOptions(readers=0, memory=LOW, sources=str(table))
    monkeypatch.setattr(table_of_tile, "read", read_another)
    report = scanned(folder, encoder, tmp_path / "out", options)
    assert {tile.code for tile in report.tiles} == {"tile.changed"}
    monkeypatch.undo()
    assert scanned(folder, encoder, tmp_path / "out", options).count("done") == len(NAMES)


@pytest.mark.parametrize("memory", [NORMAL, LOW])
def test_given_positions_cost_no_detection(
    folder: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str
) -> None:
    """No noise after the detection filter, and no background either where a tile has none of the positions."""
    measured: list[str] = []

    def note(name: str, original: Any) -> Any:
        return classmethod(lambda _, *given: (measured.append(name), original(*given))[1])

    for name in ("of", "of_filtered"):
        monkeypatch.setattr(Mesh, name, note(name, getattr(Mesh, name)))
    (tmp_path / "one.csv").write_text("x,y\n300,300\n", encoding="utf-8")
    (tmp_path / "none.csv").write_text("x,y\n-300,300\n", encoding="utf-8")
    for asked, expected in ((str(tmp_path / "one.csv"), {"of"}), ("grid", {"of"}), ("detect", {"of", "of_filtered"})):
        measured.clear()
        options = ScanOptions(readers=0, memory=memory, sources=asked, stride=300)
        report = scanned(folder, encoder, tmp_path / "out" / Path(asked).stem, options)
        assert [tile.status for tile in report.tiles] == ["done", "done"]
        assert set(measured) == expected
    measured.clear()
    options = ScanOptions(readers=0, memory=NORMAL, sources=str(tmp_path / "none.csv"))
    assert scanned(folder, encoder, tmp_path / "none", options).objects == 0
    assert not measured


def test_strips_that_were_read_for_positions_are_not_searched(folder: Path) -> None:
    tile = tile_list.find(UNIONS, NAMES[0], folder)
    for strip in read_strips(UNIONS, tile, lambda _: 5, detects=False):
        with pytest.raises(ValueError, match="not for detection"):
            find_objects(strip)


def test_a_reading_process_hands_over_strip_by_strip(
    folder: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process has sections of the usual size: tiles of two strips, in order, though three readers are asked for."""
    monkeypatch.undo()
    for name in NAMES:
        small_tiles.write(tmp_path / "tall", name, size=300, bands="r")
        with fits.open(small_tiles.band_file(tmp_path / "tall", name, "r"), mode="update") as file:
            file[0].data = np.tile(file[0].data, (7, 1))
    answers: list[Prepared] = []
    original = reader_process.Reader.read

    def read(self: Any, tile: Any, slot: int) -> Any:
        answers.append(answer := original(self, tile, slot))
        return answer

    monkeypatch.setattr(reader_process.Reader, "read", read)
    low = scanned(tmp_path / "tall", encoder, tmp_path / LOW, ScanOptions(readers=3, memory=LOW))
    normal = scanned(tmp_path / "tall", encoder, tmp_path / NORMAL, ScanOptions(readers=0))
    assert [tile.status for tile in low.tiles] == ["done", "done"]
    assert low.objects == normal.objects > 100
    assert [(part.tile.name, part.last) for part in answers] == [
        (name, last) for name in NAMES for last in (False, True)
    ]
    assert all(1024 < part.shape[1] < 1250 for part in answers)
    assert_same_bytes(tmp_path)


def test_a_tile_that_breaks_after_some_strips_leaves_nothing_and_the_next_is_whole(
    folder: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = prepare._part

    def breaks(job: Any, tile: Any, opened: Any, *rest: Any, **named: Any) -> Prepared:
        if tile.name == NAMES[0] and opened.strip.core.start > SIZE // 2:
            raise ZeroDivisionError("odd pixels")
        return original(job, tile, opened, *rest, **named)

    monkeypatch.setattr(prepare, "_part", breaks)
    report = scanned(folder, encoder, tmp_path / "out", ScanOptions(readers=0, memory=LOW))
    assert [(tile.status, tile.code) for tile in report.tiles] == [("failed", "tile.unexpected"), ("done", "")]
    assert catalogs.open(tmp_path / "out").tiles() == [NAMES[1]]
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_memory_and_its_one_reader_are_no_settings_of_the_rows() -> None:
    assert ScanOptions(memory=LOW).settings() == ScanOptions().settings()
    assert ScanOptions(memory=LOW, readers=4).processes == 1
    assert replace(ScanOptions(), readers=4).processes == 4


def test_a_tile_without_pixels_is_said_to_be_empty(folder: Path, encoder: Encoder, tmp_path: Path) -> None:
    small_tiles.write(tmp_path, "200.292", size=SIZE, bands="r")
    with fits.open(small_tiles.band_file(tmp_path, "200.292", "r"), mode="update") as file:
        file[0].data[:] = 0
    job = prepare.ReaderJob(UNIONS, encoder.contract, ScanOptions(memory=LOW))
    (report,) = prepare.prepare(job, tile_list.find(UNIONS, "200.292", tmp_path))
    assert isinstance(report, TileReport)
    assert report.code == "tile.all_nan"
