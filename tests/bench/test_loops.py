"""What the scan's benchmark is made of: windows of a scan, a simulated device, tiles of all kinds, other loops."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.harness import memory, tiles
from bench.harness.setup import Setup
from bench.harness.timing import Cost
from bench.scan import TARGETS, hyrax_loop, series
from bench.scan import simulated_device as device
from bench.scan import time_breakdown as lost
from bench.scan.simulated_device import Device
from bench.scan.window import Turns, Window, _seconds, cut, window
from scanner.encoder.encoder import Encoder
from scanner.images.tile_images import open_tile
from scanner.scan.options import GRID, ScanOptions
from scanner.scan.report import Seconds, TileReport
from scanner.sources import sources
from scanner.survey import survey
from tests.support import tiny_encoder

SECONDS = Seconds(read=1.0, detect=2.0, cut=0.5, infer=17.0, write=0.2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder.write(tmp_path_factory.mktemp("model") / "encoder.onnx", tiny_encoder.contract())


@pytest.fixture
def encoder(model: Path) -> Iterator[Encoder]:
    with Encoder(model, device="cpu", threads=2) as opened:
        yield opened


@pytest.mark.parametrize("readers", [0, 1])
def test_a_window_of_a_scan_is_between_those_that_fill_and_the_last(
    encoder: Encoder, tmp_path: Path, readers: int
) -> None:
    listed = tiles.made(tmp_path, 320, "raw", 3)
    _, a_tile = cut(listed[0], encoder, ScanOptions())
    found = window(encoder, listed, ScanOptions(readers=readers), tmp_path)
    assert found.objects == (2 - readers) * a_tile > 10
    assert found.fill > 0
    assert found.rate == pytest.approx(found.objects / found.wall)
    assert min(found.seconds.read, found.seconds.detect, found.seconds.cut, found.seconds.infer) > 0
    assert found.bytes > 0


def test_what_reading_costs_is_told_by_tiles_read_into_memory_used_before() -> None:
    first = TileReport("a", "done", objects=10, seconds=Seconds(read=9.0, detect=5.0, cut=1.0, infer=4.0))
    second = TileReport("b", "done", objects=30, seconds=Seconds(read=3.0, detect=6.0, cut=3.0, infer=8.0))
    assert _seconds([first, second], [second]) == Seconds(read=4.0, detect=8.0, cut=4.0, infer=12.0)
    assert _seconds([first, second], []) == first.seconds + second.seconds


def test_a_scan_that_fails_is_not_timed(encoder: Encoder, tmp_path: Path) -> None:
    first, second = tiles.made(tmp_path, 320, "raw", 2)
    for file in first.files.values():
        file.unlink()
        file.write_bytes(b"no image")
    with pytest.raises(RuntimeError, match="cannot be timed"):
        window(encoder, [first, second, second], ScanOptions(readers=0), tmp_path)


def test_windows_of_a_grid_are_those_of_its_positions(encoder: Encoder, tmp_path: Path) -> None:
    tile = tiles.made(tmp_path, 320, "raw", 1)[0]
    flux, count = cut(tile, encoder, ScanOptions(sources=GRID, stride=32), most=30)
    assert count == 100
    assert flux.shape == (30, *encoder.shape)


def test_shares_of_the_callers_time_add_up_and_the_largest_loss_is_told_first(encoder: Encoder) -> None:
    turns = Turns(Setup("", Path(), 0, quick=True), encoder, [], ScanOptions(), np.zeros((0, *encoder.shape)))
    turns.windows = [Window(fill=3.0, wall=10.0, objects=1000, seconds=SECONDS, bytes=0)]
    turns.alone = [Cost(0.008, 0.016)]
    parts = lost.shares(turns)
    assert parts == pytest.approx({"encoder": 0.8, "slowed": 0.05, "cut": 0.025, "waiting": 0.125})
    assert turns.efficiency == pytest.approx(0.8)
    words = lost.told(turns)
    assert words.startswith("80.0% of the callers' time is the encoder's; 12.5% waiting")
    assert "worked 3.0 s" in words
    busy = {row["stage"]: row["busy_share"] for row in lost.stages("x", turns)}
    assert busy == pytest.approx({"read": 0.1, "detect": 0.2, "cut": 0.025, "infer": 0.85, "write": 0.02})


def test_a_simulated_device_takes_its_time_whoever_calls(model: Path) -> None:
    with Device(model, rate=1000) as paced:
        flux = np.zeros((2 * paced.batch, *paced.shape), np.float32)
        began = time.perf_counter()
        vectors = paced.embed(flux)
        assert time.perf_counter() - began >= len(flux) / 1000  # callers do not share it out
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)


def test_a_simulated_device_is_fed_by_a_scan(model: Path, tmp_path: Path) -> None:
    found = device.measure(Setup(str(model), tmp_path, 320, quick=True))
    assert 0 < found["device_busy"] <= 1
    assert [row["device_per_s"] for row in found["feeding"]] == list(device.RATES)
    readers = [row["readers"] for row in found["readers_needed"]]
    assert readers == sorted(readers)
    assert readers[0] >= 1
    assert min(found["reader_us_per_object"], found["reader_us_per_object_rice"], found["device_busy_rice"]) > 0


def test_readers_that_are_needed_follow_from_what_an_object_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "usable_cores", lambda: 4)
    costs = device._Costs(Window(1.0, 10.0, 20_000, Seconds(read=1.0, detect=3.0, cut=0.8, write=0.2), 0))
    assert costs.readers(2_000) == 1
    assert costs.readers(30_000) == 7  # 0.2 ms an object, and a tenth to spare
    assert costs.predicted(2_000, 1) == 2_000
    assert costs.predicted(30_000, 1) == pytest.approx(5_000)
    assert costs.predicted(30_000, 6) == pytest.approx(16_000)  # four cores at 0.25 ms
    assert costs.cores(10_000) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("cores", "planned", "readers"), [(1, 2_000, 1), (2, 4_000, 1), (3, 10_000, 3), (9, 30_000, 7)]
)
def test_the_fastest_device_that_the_cores_can_feed_is_fed_by_the_readers_it_should_need(
    monkeypatch: pytest.MonkeyPatch, cores: int, planned: int, readers: int
) -> None:
    asked = []

    def scanned(_: Setup, rate: int, count: int, form: str = "raw") -> Window:
        asked.append((rate, count))
        return Window(1.0, 10.0, 20_000, Seconds(read=1.0, detect=3.0, cut=0.8, write=0.2), 0)

    monkeypatch.setattr(device, "usable_cores", lambda: cores)
    monkeypatch.setattr(device, "_scanned", scanned)
    found = device.measure(Setup("", Path(), 320, quick=False))
    assert found["planned_device_per_s"] == planned
    assert (planned, readers) in asked
    assert found["planned_device_busy"] == pytest.approx(2_000 / planned)
    assert (found["fast_device_busy"] is None) == (planned < 30_000)
    assert [row["device_per_s"] for row in found["feeding"]] == sorted({2_000, planned, 30_000})


def test_a_crowded_tile_has_more_objects_and_an_empty_one_none(tmp_path: Path) -> None:
    unions = survey.load("unions")
    skies = (tiles.USUAL, tiles.CROWDED, tiles.EMPTY)
    opened = [open_tile(unions, tiles.made(tmp_path, 600, "raw", 1, sky)[0]) for sky in skies]
    usual, crowded, empty = (len(sources.detect(image)) for image in opened)
    assert crowded > 1.3 * usual
    assert usual > 50 > 3 >= empty
    assert opened[0].flux.shape == opened[1].flux.shape == opened[2].flux.shape


def test_a_piece_of_a_tile_has_rows_as_long(tmp_path: Path) -> None:
    whole, piece = (tiles.made(tmp_path, 640, "raw", 1, rows=rows)[0] for rows in (None, 160))
    opened = [open_tile(survey.load("unions"), tile) for tile in (whole, piece)]
    assert opened[1].flux.shape == (5, 160, 640)
    np.testing.assert_array_equal(opened[1].flux, opened[0].flux[:, :160])


def test_a_bar_is_met_missed_or_not_measured() -> None:
    rows = {
        row["bar"]: row
        for row in (target.row({"efficiency": 0.95, "peak_rss_gb": 5.6, "twenty_tiles": {}}) for target in TARGETS)
    }
    assert rows["efficiency"] == {"bar": "efficiency", "wanted": ">= 0.95", "here": 0.95, "met": "yes"}
    assert rows["peak_rss_gb"]["met"] == "no"
    assert rows["peer_ratio"]["met"] == rows["twenty_tiles.seconds_last_vs_first"]["met"] == "not measured"


def test_drift_is_the_end_over_the_beginning() -> None:
    assert series._drift([1.0, 1.0, 5.0, 1.0, 1.0, 5.0, 2.0, 9.0]) == 5.5
    assert series._drift([1.0]) is None


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="PSS is read from /proc")
def test_memory_is_watched_over_time_beside_what_a_command_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command takes its memory when it was looked at for the first time, and holds it until it is seen."""
    look = memory._pss

    def looked(pid: int) -> tuple[int, int]:
        found = look(pid)
        for sign, least in (("looked", 1), ("seen", 100_000_000)):
            if found[0] >= least:
                (tmp_path / sign).touch()
        return found

    monkeypatch.setattr(memory, "_pss", looked)
    wait = f"while not os.path.exists({f'{tmp_path}/'!r} + sign): time.sleep(0.01)"
    program = (
        f"import os, time\ndef wait(sign):\n  {wait}\n"
        "wait('looked'); held = bytearray(100_000_000); print('said'); wait('seen')"
    )
    found = memory.watched([sys.executable, "-c", program])
    assert found.output == "said\n"
    first, whole = found.peak(end=found.looks[0].at), found.peak()
    assert first is not None
    assert whole is not None
    assert whole.own - first.own > 0.08
    assert found.peak(begin=found.looks[-1].at + 1) is None


def test_hyrax_is_asked_for_seconds_and_its_last_words_are_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs Hyrax, with a program in its place that answers as it does."""
    stand_in = tmp_path / "program.py"
    stand_in.write_text("import sys\nfor line in sys.stdin: print(float(line) / 100 + 7, flush=True)\n")
    monkeypatch.setattr(hyrax_loop, "PROGRAM", stand_in)
    flux = np.zeros((40, 5, 32, 32), np.float32)
    with hyrax_loop.running(Path(sys.executable), model, flux) as hyrax:
        assert hyrax.per_cutout(40) == pytest.approx(0.01)  # the seven seconds of its start are not counted
    stand_in.write_text("raise SystemExit('no such thing')\n")
    with (
        pytest.raises((RuntimeError, BrokenPipeError), match=r"no such thing|pipe"),
        hyrax_loop.running(Path(sys.executable), model, flux),
    ):
        pass
