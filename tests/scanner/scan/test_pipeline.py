"""What happens between a tile that is ready and its file: order, bounds, bad tiles, full disks, interrupts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import catalogs
from catalogs.errors import ScannerError
from scanner.encoder.buffers import Encoded
from scanner.encoder.encoder import Encoder
from scanner.scan.handoff import Ready
from scanner.scan.pipeline import AHEAD, Pipeline
from scanner.scan.progress import Quiet
from scanner.scan.report import Seconds, TileReport
from scanner.sources.dropped import Dropped
from tests.support import tiny_encoder
from tests.support.waiting import until

BANDS = tuple("ugriz")


@dataclass
class FakeTile:
    """Stands for a prepared tile: row k has a window of flux k; ``gather`` may be told to do something first."""

    name: str
    rows: int
    on_gather: Callable[[int], None] = lambda start: None
    gathered: list[int] = field(default_factory=list)
    seconds: Seconds = field(default_factory=Seconds)
    dropped: Dropped = field(default_factory=Dropped)
    last: bool = True
    notes: tuple[str, ...] = ()
    positions_sha256: str = ""

    @property
    def tile(self) -> Any:
        return SimpleNamespace(name=self.name)

    @property
    def windows(self) -> FakeTile:
        return self

    def __len__(self) -> int:
        return self.rows

    def gather(self, start: int, stop: int, out: NDArray[np.float32]) -> None:
        self.on_gather(start)
        self.gathered.append(start)
        out[:] = np.arange(start, stop, dtype=np.float32)[:, None, None, None]

    def columns(self, start: int, stop: int, valid: NDArray[np.float32], encoded: Encoded) -> dict[str, NDArray[Any]]:
        rows = stop - start
        schema_zero: dict[str, NDArray[Any]] = {
            name: np.zeros(rows, np.float32)
            for band in BANDS
            for name in (f"flux_{band}", f"fluxerr_{band}", f"mag_{band}")
        }
        for name in ("x", "y", "ra", "dec", "flux_auto", "mag_auto", "a", "b", "theta", "flux_radius", "snr"):
            schema_zero[name] = np.zeros(rows, np.float32)
        return schema_zero | {
            "object_id": np.arange(start, stop),
            "flags": np.zeros(rows, np.int32),
            "detection_band": np.full(rows, "r", object),
            "bands_present": np.full(rows, "ugriz", object),
            "valid_fraction": valid.mean(axis=1),
            "is_primary": np.ones(rows, bool),
            "embedding": encoded.vectors,
        }


class Bench:
    """A pipeline with everything it needs, and what became of it."""

    def __init__(self, encoder: Encoder, folder: Path) -> None:
        self.encoder = encoder
        self.run = catalogs.Run("unions", BANDS, "tiny", encoder.sha256, encoder.contract.to_dict(), {})
        self.catalogue = catalogs.create(folder, self.run)
        self.released: list[str] = []

    def scan(self, *tiles: FakeTile | TileReport, check: Callable[[], None] = lambda: None) -> list[TileReport]:
        with Pipeline(self.encoder, self.catalogue, self.run, Quiet(), check) as pipeline:
            for tile in tiles:
                pipeline.feed(tile if isinstance(tile, TileReport) else self.ready(tile))
        return pipeline.reports

    def ready(self, tile: FakeTile) -> Ready:
        return Ready(tile, lambda: self.released.append(tile.name))  # type: ignore[arg-type]

    def leftovers(self) -> list[Path]:
        return list(self.catalogue.path.rglob("*.tmp"))

    def ids(self, name: str) -> list[int]:
        import pyarrow.parquet as pq

        found: list[int] = pq.read_table(self.catalogue.tile_path(name))["object_id"].to_pylist()
        return found


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encoder]:
    path = tiny_encoder.write(tmp_path_factory.mktemp("model") / "encoder.onnx", tiny_encoder.contract(window=16))
    with Encoder(path, device="cpu", threads=2, batch=4) as loaded:
        yield loaded


@pytest.fixture
def bench(encoder: Encoder, tmp_path: Path) -> Bench:
    return Bench(encoder, tmp_path / "catalogue")


def test_rows_come_in_order_whatever_the_callers_do(bench: Bench) -> None:
    slow_first = threading.Event()

    def stall(start: int) -> None:
        if start == 0:
            slow_first.wait(0.3)

    last = FakeTile("203.292", 1)
    reports = bench.scan(FakeTile("200.292", 23, stall), FakeTile("201.292", 0), TileReport("202.292", "skipped"), last)
    assert bench.ids("200.292") == list(range(23))
    assert bench.ids("201.292") == []
    assert bench.released == ["200.292", "201.292", "203.292"]
    assert [(r.tile, r.status, r.objects) for r in reports] == [
        ("200.292", "done", 23),
        ("201.292", "done", 0),
        ("202.292", "skipped", 0),
        ("203.292", "done", 1),
    ]


def test_no_more_is_cut_than_is_written(bench: Bench) -> None:
    """A tile of any size has a bounded number of batches in memory."""
    gate = threading.Event()
    tile = FakeTile("200.292", 4000, lambda start: None if start else (gate.wait(), None)[1])
    feeding = threading.Thread(target=bench.scan, args=(tile,), daemon=True)
    feeding.start()
    until(lambda: len(tile.gathered) >= AHEAD * bench.encoder.threads)
    threading.Event().wait(0.5)  # in which all would be gathered
    assert len(tile.gathered) <= AHEAD * bench.encoder.threads + bench.encoder.threads + 2
    gate.set()
    feeding.join()
    assert len(tile.gathered) == 1000


@pytest.mark.parametrize("at", [0, 40, 96])
def test_a_tile_that_breaks_is_a_value_and_the_next_one_is_whole(bench: Bench, at: int) -> None:
    def burst(start: int) -> None:
        if start == at:
            raise ScannerError("tile.odd", "It broke.", "Mend it.")

    first, second = bench.scan(FakeTile("200.292", 100, burst), FakeTile("201.292", 30))
    assert (first.status, first.code, first.hint) == ("failed", "tile.odd", "Mend it.")
    assert (second.status, second.objects) == ("done", 30)
    assert bench.catalogue.tiles() == ["201.292"]
    assert [failure.code for failure in bench.catalogue.failures()] == ["tile.odd"]
    assert bench.released == ["200.292", "201.292"]
    assert not bench.leftovers()


def test_success_forgets_the_failure(bench: Bench) -> None:
    bench.catalogue.record_failure("200.292", "tile.odd", "It broke.")
    bench.scan(FakeTile("200.292", 5))
    assert not bench.catalogue.failures()


def test_a_full_disk_ends_the_scan_with_its_own_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise ScannerError("output.full", "There is no room left.")

    monkeypatch.setattr("catalogs.store.tile_writer.TileWriter.write", full)
    with pytest.raises(ScannerError) as caught:
        bench.scan(*(FakeTile(f"{number:03d}.292", 50) for number in range(100)))
    assert caught.value.code == "output.full"
    assert not bench.leftovers()
    assert bench.catalogue.tiles() == []


def test_an_encoder_that_fails_ends_the_scan(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ScannerError("encoder.failed", "Out of memory.")

    monkeypatch.setattr(bench.encoder, "encode_batch", broken)
    with pytest.raises(ScannerError, match="Out of memory"):
        bench.scan(FakeTile("200.292", 50))
    assert not bench.leftovers()


@pytest.mark.parametrize("fed", [0, 3, 2000])
def test_an_interrupt_drops_the_tile_at_hand_and_keeps_the_rest(bench: Bench, fed: int) -> None:
    interrupted = threading.Event()

    def check() -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt

    def press(start: int) -> None:
        if start >= fed:
            interrupted.set()

    bench.scan(FakeTile("200.292", 12))
    with pytest.raises(KeyboardInterrupt):
        bench.scan(FakeTile("201.292", 4000, press), check=check)
    assert bench.catalogue.tiles() == ["200.292"]
    assert not bench.leftovers()


def test_notes_of_all_parts_are_reported_once(bench: Bench) -> None:
    first = FakeTile("200.292", 3, last=False, notes=("r.fits: taken as FK5.",))
    last = FakeTile("200.292", 2, notes=("r.fits: taken as FK5.", "i.fits: taken as FK5."))
    (report,) = bench.scan(first, last)
    assert report.notes == ("r.fits: taken as FK5.", "i.fits: taken as FK5.")


def test_a_tile_without_objects_says_so(bench: Bench) -> None:
    """It may be empty, or not the image that it should be."""
    reports = bench.scan(
        FakeTile("200.292", 0), FakeTile("201.292", 1), FakeTile("202.292", 0, dropped=Dropped(off_tile=3))
    )
    assert [(report.status, report.notes) for report in reports] == [
        ("done", ("No object was found in this tile.",)),
        ("done", ()),
        ("done", ()),  # positions of a file, which are counted as dropped
    ]
