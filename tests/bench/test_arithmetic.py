"""Figures that nobody would see to be wrong: medians, ratios, shares of time, memory, and what is compared."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from bench import gpu
from bench.encoder import torch_loop
from bench.harness import memory, tiles, timing
from bench.harness.embeddings import Cloud
from bench.harness.setup import Setup, default_session
from bench.harness.timing import Cost, family_cpu
from bench.page.people import Address, Person, Tally, lost, percentile, together
from bench.scan import TARGETS, plain_loop, series, time_breakdown
from bench.scan import simulated_device as device
from bench.scan.window import Turns, Window, _seconds, cut, window
from scanner.encoder import session
from scanner.encoder.contract import resolve
from scanner.encoder.encoder import Encoder
from scanner.images.tile_images import open_tile
from scanner.scan.options import ScanOptions
from scanner.scan.report import Seconds, TileReport
from scanner.sources import sources
from scanner.survey import survey

UNIONS = survey.load("unions")


def test_variants_take_turns_and_ratios_are_medians_within_turns() -> None:
    order: list[str] = []
    costs = {"a": iter([1.0, 10.0, 2.0]), "b": iter([3.0, 20.0, 8.0])}

    def work(name: str) -> Cost:
        order.append(name)
        wall = next(costs[name])
        return Cost(wall, wall / 2)

    pair = timing.paired(lambda: work("a"), lambda: work("b"), 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert pair.wall_ratio == 3.0  # of 3, 2 and 4; the ratio of the medians would be 4
    assert timing.middle(pair.b) == Cost(8.0, 4.0)


def test_cost_sees_work_but_not_sleep() -> None:
    slept = timing.cost(lambda: __import__("time").sleep(0.2))
    worked = timing.cost(lambda: sum(range(10_000_000)))
    assert slept.wall >= 0.2 > slept.cpu
    assert worked.cpu > 0.05


def test_what_reading_costs_is_of_tiles_read_into_memory_used_before() -> None:
    first = TileReport("a", "done", objects=10, seconds=Seconds(read=9.0, detect=5.0, cut=1.0, infer=4.0))
    second = TileReport("b", "done", objects=30, seconds=Seconds(read=3.0, detect=6.0, cut=3.0, infer=8.0))
    assert _seconds([first, second], [second]) == Seconds(read=4.0, detect=8.0, cut=4.0, infer=12.0)
    assert _seconds([first, second], []) == first.seconds + second.seconds


@pytest.mark.parametrize("readers", [0, 1])
def test_a_window_of_a_scan_is_between_those_that_fill_and_the_last(model: Path, tmp_path: Path, readers: int) -> None:
    listed = tiles.made(tmp_path, 320, "raw", 3)
    with Encoder(model, device="cpu", threads=2) as encoder:
        _, a_tile = cut(listed[0], encoder, ScanOptions())
        part = window(encoder, listed, ScanOptions(readers=readers), tmp_path)
        assert part.objects == (2 - readers) * a_tile > 10
        assert part.rate == pytest.approx(part.objects / part.wall)
        assert min(part.fill, part.bytes, *(getattr(part.seconds, of) for of in ("read", "detect", "cut", "infer"))) > 0
        for file in listed[0].files.values():
            file.unlink()
            file.write_bytes(b"no image")
        with pytest.raises(RuntimeError, match="cannot be timed"):
            window(encoder, listed, ScanOptions(readers=readers), tmp_path / "again")


def test_shares_of_the_callers_time_add_up(model: Path) -> None:
    with Encoder(model, device="cpu", threads=2) as encoder:
        turns = Turns(Setup("", Path(), 0, quick=True), encoder, [], ScanOptions(), np.zeros((0, *encoder.shape)))
    spent = Seconds(read=1.0, detect=2.0, cut=0.5, infer=17.0, write=0.2)
    turns.windows = [Window(fill=3.0, wall=10.0, objects=1000, seconds=spent, bytes=0)]
    turns.alone = [Cost(0.008, 0.016)]
    parts = time_breakdown.shares(turns)
    assert parts == pytest.approx({"encoder": 0.8, "slowed": 0.05, "cut": 0.025, "waiting": 0.125})
    assert turns.efficiency == pytest.approx(0.8)
    busy = {row["stage"]: row["busy_share"] for row in time_breakdown.stages("x", turns)}
    assert busy == pytest.approx({"read": 0.1, "detect": 0.2, "cut": 0.025, "infer": 0.85, "write": 0.02})


@pytest.mark.parametrize(("cores", "planned"), [(1, 2_000), (2, 4_000), (3, 10_000), (9, 30_000)])
def test_readers_that_a_device_needs_follow_from_what_an_object_costs(
    monkeypatch: pytest.MonkeyPatch, cores: int, planned: int
) -> None:
    """An object takes a reader 0.2 ms and the host 0.05 ms; a tenth is to spare."""
    monkeypatch.setattr(device, "usable_cores", lambda: cores)
    costs = device._Costs(Window(1.0, 10.0, 20_000, Seconds(read=1.0, detect=3.0, cut=0.8, write=0.2), 0))
    assert [costs.readers(rate) for rate in (2_000, 30_000)] == [1, 7]
    assert costs.predicted(30_000, 9) == pytest.approx(min(30_000, cores / 0.25e-3))
    assert costs.cores(10_000) == pytest.approx(2.5)
    assert max(rate for rate in device.PLANNED if costs.fits(rate)) == planned


def test_a_bar_is_met_missed_or_not_measured() -> None:
    figures = {"efficiency": 0.95, "peak_rss_gb": 5.6, "twenty_tiles": {}}
    rows = {row["bar"]: row for row in (target.row(figures) for target in TARGETS)}
    assert rows["efficiency"] == {"bar": "efficiency", "wanted": ">= 0.95", "here": 0.95, "met": "yes"}
    assert rows["peak_rss_gb"]["met"] == "no"
    assert rows["peer_ratio"]["met"] == rows["twenty_tiles.seconds_last_vs_first"]["met"] == "not measured"


def test_people_are_counted_and_none_of_their_verdicts_is_missed() -> None:
    assert [percentile(range(1, 101), share) for share in (50, 95, 100)] == [50, 95, 100]
    assert percentile([3.0], 95) == 3.0
    assert math.isnan(percentile([], 95))
    assert lost(["a/0", "a/1", "b/0"], ["b/0", "a/0", "c"]) == ["a/1"]
    row = Tally([0.1, 0.3, 0.2, 0.4], ["OSError: gone"]).row("search", 2.0)
    assert row == {
        "phase": "search", "requests": 4, "errors": 1, "per_s": 2.0,
        "p50_ms": 200.0, "p95_ms": 400.0, "max_ms": 400.0,
    }  # fmt: skip


def test_people_ask_together_each_in_an_order_of_its_own_and_errors_are_kept() -> None:
    """The server answers all three first turns only when all have asked: so they did at the same time."""
    turns, met = [], threading.Barrier(3)

    def step(person: Person, turn: int) -> None:
        turns.append((person.number, turn, float(person.rng.random())))
        if turn == 0:
            met.wait()
        elif person.number == 1:
            raise RuntimeError("refused")

    tally, wall = together(Address("127.0.0.1", 1, ""), 3, 2, 0.0, step)
    assert sorted(turns)[::2] == [(n, 0, float(np.random.default_rng([1, n]).random())) for n in range(3)]
    assert (len(tally.seconds), tally.errors) == (5, ["RuntimeError: refused"])
    assert max(tally.seconds) <= wall


def test_small_series() -> None:
    assert series._drift([1.0, 1.0, 5.0, 1.0, 1.0, 5.0, 2.0, 9.0]) == 5.5  # of the last quarter and the first
    assert series._drift([1.0]) is None
    assert [gpu._series(cores) for cores in (1, 2, 4, 16)] == [[1], [1], [1, 2], [1, 2, 4, 8, 14]]
    assert gpu._astray({}) is None
    assert gpu._astray({session.CUDA: {"Conv"}, session.CPU: {"Shape", "Gather"}}) == ["Gather", "Shape"]


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="PSS is read from /proc")
def test_memory_is_of_all_processes_and_of_a_stretch_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child holds its memory until somebody has looked at it."""
    look, seen = memory._pss, tmp_path / "seen"

    def watch(pid: int) -> tuple[int, int]:
        size = look(pid)
        if size[0] > 200_000_000:
            seen.touch()
        return size

    monkeypatch.setattr(memory, "_pss", watch)
    child = f"import os, time; held = bytearray(200_000_000)\nwhile not os.path.exists({str(seen)!r}): time.sleep(0.01)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('end')"
    watched = memory.watched([sys.executable, "-c", parent])
    peak = watched.peak()
    assert watched.output == "end\n"
    assert peak is not None
    assert 0.2 < peak.own <= peak.all < 0.4
    assert watched.peak(begin=watched.looks[-1].at + 1) is watched.peak(end=watched.looks[0].at - 1) is None
    with pytest.raises(RuntimeError, match="no such thing"):
        memory.peak_gb([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_tiles_of_both_formats_hold_the_same_sources(tmp_path: Path) -> None:
    listed = [tiles.made(tmp_path, 400, form, count=1)[0] for form in tiles.FORMATS]
    raw, rice = (open_tile(UNIONS, tile) for tile in listed)
    assert (raw.flux.shape, list(raw.present)) == ((5, 400, 400), [True] * 5)
    assert len(sources.detect(rice)) == pytest.approx(len(sources.detect(raw)), rel=0.1)
    sizes = [sum(path.stat().st_size for path in tile.files.values()) for tile in listed]
    assert sizes[1] < 0.5 * sizes[0]


def test_plain_loop_embeds_the_same_windows(model: Path, tmp_path: Path) -> None:
    """A loop that did less work would be no peer: each of its vectors is that of the window at its position."""
    running, half, side = default_session(model), 16, 400
    tile = tiles.made(tmp_path, side, "raw", count=1)[0]
    assert plain_loop.scan([tile], running, 2 * half, 20, tmp_path) == 20
    rows = plain_loop.pq.read_table(tmp_path / "217.292.parquet")
    opened = open_tile(UNIONS, tile)
    wcs, flux = opened.wcs[opened.detection], np.nan_to_num(opened.flux)
    assert wcs is not None
    at = np.round(wcs.all_world2pix(rows["ra"], rows["dec"], 0)).astype(int)
    inside = np.flatnonzero((at.min(axis=0) >= half) & (at.max(axis=0) <= side - half))
    assert len(inside) > 10
    pixels = [flux[:, y - half : y + half, x - half : x + half] for x, y in at[:, inside].T]
    expected = running.run(None, {"flux": np.stack(pixels)})[0]
    np.testing.assert_allclose(rows["embedding"].take(inside).to_pylist(), expected, atol=1e-3)


def test_clouds_are_reproducible_and_queries_lie_in_their_clusters() -> None:
    cloud = Cloud(64, 2_000)
    stored, queries = cloud.draw(2_000), cloud.draw(50, stream=1)
    np.testing.assert_array_equal(stored, cloud.draw(2_000))
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-5)
    assert 0.8 < np.median((queries @ stored.T).max(axis=1)) < 0.9999
    assert np.linalg.norm(stored.mean(axis=0)) < 0.6
    assert np.linalg.norm(Cloud(64, 2_000, mean=3.0).draw(2_000).mean(axis=0)) > 0.9


def test_products_are_counted_as_torch_counts_them() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    flop_counter = pytest.importorskip("torch.utils.flop_counter")
    path, side = resolve("small"), 64
    network = torch_loop.network(path, side)
    for block in network.blocks:
        block.attn.fused_attn = False  # which torch would not look into
    flux = torch.zeros(1, torch_loop.sizes(path)["bands"], side, side)
    with flop_counter.FlopCounterMode(display=False) as counted, torch.inference_mode():
        network(flux)
    assert counted.get_total_flops() == 2 * torch_loop.macs(path, side)


def test_cpu_seconds_of_processes_that_still_run_are_counted() -> None:
    works = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\nsys.stdin.read()"
    before = family_cpu()
    with subprocess.Popen([sys.executable, "-c", works], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while_it_runs = family_cpu() - before
    # In steps of 10 ms for user and system time each.
    assert while_it_runs >= 0.25
    assert family_cpu() - before >= 0.25
