"""A tile's file is the same to the byte, whatever else is scanned, in which order, batches, threads and processes."""

from __future__ import annotations

import shutil
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import catalogs
from scanner.encoder.encoder import Encoder
from scanner.images.sections import SECTION, cut_strips
from scanner.scan import reader_process
from scanner.scan.options import GRID, LOW, ScanOptions
from scanner.scan.reader_process import Reader
from scanner.scan.run import make_run, scan_tiles
from scanner.survey import survey, tile_list
from tests.support import small_tiles, tiny_encoder

UNIONS = survey.load("unions")
NAMES = small_tiles.names(4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four tiles of different bands and numbers of objects, none of them a multiple of a batch."""
    made = tmp_path_factory.mktemp("unions")
    for name, bands, objects in zip(NAMES, ("ugriz", "gri", "r", "rz"), (37, 5, 21, 60), strict=True):
        small_tiles.write(made, name, size=200, objects=objects, bands=bands)
    tiny_encoder.write(made / "encoder.onnx", tiny_encoder.contract())
    return made


def scanned(folder: Path, out: Path, names: list[str], options: ScanOptions, **session: int) -> dict[str, bytes]:
    with Encoder(folder / "encoder.onnx", device="cpu", **session) as encoder:
        run = make_run(UNIONS, encoder, options)
        listed = [tile_list.find(UNIONS, name, folder) for name in names]
        report = scan_tiles(listed, UNIONS, encoder, catalogs.create(out, run), run, options)
    assert report.count("done") == len(names)
    return {path.stem: path.read_bytes() for path in (out / "tiles").glob("*.parquet")}


@pytest.fixture(scope="module")
def plain(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return scanned(folder, tmp_path_factory.mktemp("plain"), NAMES, ScanOptions(readers=0), threads=1)


@pytest.mark.parametrize("batch", [1, 3, 7, 16, 64, 500])
@pytest.mark.parametrize("threads", [1, 3])
def test_batches_and_threads(folder: Path, plain: dict[str, bytes], tmp_path: Path, batch: int, threads: int) -> None:
    assert scanned(folder, tmp_path, NAMES, ScanOptions(readers=0), batch=batch, threads=threads) == plain


@pytest.mark.parametrize("options", [ScanOptions(readers=3), ScanOptions(readers=1, memory=LOW)])
def test_order_and_reading_processes(
    folder: Path, plain: dict[str, bytes], tmp_path: Path, options: ScanOptions
) -> None:
    order = [NAMES[number] for number in (2, 0, 3, 1)]
    assert scanned(folder, tmp_path, order, options, threads=2, batch=5) == plain


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[Reader]:
    """Each reading process that is started."""
    readers = []
    launch = Reader._launch

    def noted(self: Reader) -> Connection:
        readers.append(self)
        return launch(self)

    monkeypatch.setattr(Reader, "_launch", noted)
    return readers


def test_reading_processes_are_replaced(
    folder: Path, plain: dict[str, bytes], launched: list[Reader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_process, "DETECTIONS", 30)
    assert scanned(folder, tmp_path / "detected", NAMES, ScanOptions(readers=1), threads=2) == plain
    # 37 objects, then 5 and 21 and 60: the next process would be for a fifth tile.
    assert len(launched) == 2
    scanned(folder, tmp_path / "grid", NAMES, ScanOptions(readers=1, sources=GRID), threads=2)
    assert len(launched) == 3


def test_a_reading_process_is_not_replaced_between_strips(
    folder: Path, launched: list[Reader], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_process, "DETECTIONS", 1)
    shutil.copy(folder / "encoder.onnx", tmp_path)
    names = small_tiles.names(2)
    for name in names:  # of two strips each
        small_tiles.write(tmp_path, name, size=2 * SECTION[0], objects=20, bands="r")
    assert len(cut_strips((2 * SECTION[0], 2 * SECTION[0]), margin=100)) == 2
    whole = scanned(tmp_path, tmp_path / "whole", names, ScanOptions(readers=0))
    assert scanned(tmp_path, tmp_path / "strips", names, ScanOptions(readers=1, memory=LOW)) == whole
    assert len(launched) == len(names)


def test_a_tile_alone(folder: Path, plain: dict[str, bytes], tmp_path: Path) -> None:
    for name in NAMES:
        alone = scanned(folder, tmp_path / name, [name], ScanOptions(readers=0), threads=2)
        assert alone == {name: plain[name]}
