"""The benchmarks run, and their arithmetic is right. No time is judged here: that is for who reads the numbers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bench.__main__ import SECTIONS, main
from bench.harness import memory, report, tiles
from bench.harness import timing as method
from bench.harness.embeddings import Cloud
from bench.harness.setup import default_session
from bench.harness.timing import Cost, Pair
from bench.scan import plain_loop
from scanner.images.tile_images import open_tile
from scanner.sources import sources
from scanner.survey import survey
from tests.support import tiny_encoder

SAME = {"centred_cosine": 1.0, "least_centred_cosine": 1.0, "neighbour_overlap": 1.0, "windows": 64}
"""What an int8 file says that differs from fp32 in its name only."""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON of a quick run of everything, to a relative path as make gives, with an encoder that costs nothing."""
    folder = tmp_path_factory.mktemp("bench")
    model = tiny_encoder.write(folder / "encoder.onnx", tiny_encoder.contract())
    tiny_encoder.write(folder / "encoder_int8.onnx", replace(tiny_encoder.contract(), precision="int8", fidelity=SAME))
    out = os.path.relpath(folder / "bench.json")
    every = [word for section in SECTIONS for word in ("--section", section)]
    arguments = ["--quick", "--model", str(model), "--out", out, *every]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert all(f"== {section} ==" in done.output for section in SECTIONS)
    assert not list((folder / "bench").glob("scratch-*"))
    found: dict[str, Any] = json.loads((folder / "bench.json").read_text())
    return found


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def test_the_json_has_every_section_and_says_what_it_was_measured_on(result: dict[str, Any]) -> None:
    assert set(result) == {"machine", *SECTIONS}
    assert result["machine"]["cores"] >= 1
    assert result["machine"]["quick"] is True
    assert set(result["machine"]["sections"]) == set(SECTIONS)
    assert all(load["wall_s"] > 0 for load in result["machine"]["sections"].values())
    assert all(value > -1 for value in numbers(result))  # of the callers' time, one share is what is left


def test_what_a_bar_is_set_on_stands_by_itself(result: dict[str, Any]) -> None:
    bars = {
        "encoder": ("images_per_s", "cpu_s_per_1000", "vs_default_threads", "peer_ratio"),
        "scan": (
            "efficiency",
            "efficiency_int8_raw",
            "efficiency_int8_rice",
            "vs_plain_loop",
            "vs_plain_loop_int8",
            "peer_ratio",
            "peer_ratio_int8",
            "device_busy",
            "sections_vs_whole",
            "sections_vs_bare_sep",
            "dispatch_cpu_ms",
            "bytes_per_row",
        ),
        "store": ("bytes_per_row", "write_rows_per_s", "read_rows_per_s"),
        "index": ("recall_at_10", "speedup_vs_exact", "bytes_per_row", "build_cost_vs_first"),
        "rank": ("rank_bandwidth", "read_gb_per_s", "rank_s"),
    }
    for section, names in bars.items():
        assert all(result[section][name] > 0 for name in names)
    if Path("/proc/self/smaps_rollup").exists():
        assert all(result["scan"][name] > 0.05 for name in ("peak_rss_gb", "peak_rss_low_gb"))


def test_scan_counts_its_objects_and_times_its_stages(result: dict[str, Any]) -> None:
    scan = result["scan"]
    assert [row["scan"] for row in scan["scans"]] == ["fp32_raw", "int8_raw", "int8_rice", "int8_grid"]
    assert scan["scans"][0]["objects"] == 2 * scan["objects"] > 20  # of two tiles
    assert scan["scans"][3]["objects"] == (scan["pixels"] // 32) ** 2
    for row in scan["scans"]:
        assert row["lowest"] <= row["efficiency"] <= row["highest"]
        assert sum(row[part] for part in ("encoder", "slowed", "cut", "waiting")) == pytest.approx(1)
    assert {row["stage"] for row in scan["stages"]} == {"read", "detect", "cut", "infer", "write"}
    assert set(scan["where_time_goes"]) == {"fp32_raw", "int8_raw", "int8_rice"}
    usual, crowded, empty, many = scan["tiles"]
    assert crowded["objects"] > usual["objects"] == scan["objects"] > empty["objects"]
    assert many["objects"] == 102  # 100,000 in a survey tile
    assert len(scan["twenty_tiles"]["seconds"]) == len(scan["twenty_tiles"]["peaks_gb"]) == 3
    assert [row["readers"] for row in scan["feeding"]] == [1, 1]
    assert scan["sections_duplicates"] == 0
    unmeasured = {row["bar"] for row in scan["bars"] if row["met"] == "not measured"}
    # tiles so small are over before anyone looks; a fast device wants more cores than there may be
    assert unmeasured <= {"twenty_tiles.memory_last_vs_first", "fast_device_busy", "planned_device_busy"}


def test_store_and_index_agree_with_themselves(result: dict[str, Any]) -> None:
    for row in result["store"]["dimensions"]:
        assert 0 < row["embedding_bytes_per_row"] < row["bytes_per_row"] < row["plain_bytes_per_row"]
    for row in result["index"]["catalogues"]:
        assert 0 <= row["index_recall_low"] <= row["index_recall_at_10"] <= row["index_recall_high"] <= 1
        assert row["recall_at_10"] == 1  # of the default, exact at this size
        assert row["bytes_per_row"] > 2 * row["embedding_dim"]
    for row in result["index"]["peers"]:
        assert "not installed" in row["index"] or row["recall_at_10"] > 0.8


def test_variants_take_turns_and_ratios_are_medians_within_turns() -> None:
    order: list[str] = []
    costs = {"a": iter([1.0, 10.0, 2.0]), "b": iter([3.0, 20.0, 8.0])}

    def work(name: str) -> Cost:
        order.append(name)
        wall = next(costs[name])
        return Cost(wall, wall / 2)

    pair = method.paired(lambda: work("a"), lambda: work("b"), 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert pair.wall_ratio == 3.0  # of 3, 2 and 4; the ratio of the medians would be 4
    assert (min(pair.wall_ratios), max(pair.wall_ratios)) == (2.0, 4.0)


def test_cost_sees_work_but_not_sleep() -> None:
    slept = method.cost(lambda: __import__("time").sleep(0.2))
    worked = method.cost(lambda: sum(range(10_000_000)))
    assert slept.wall >= 0.2 > slept.cpu
    assert worked.cpu > 0.05
    assert Pair((worked,), (worked,)).wall_ratio == 1


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="PSS is read from /proc")
def test_peak_memory_counts_children_and_a_failed_command_is_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child holds its memory until somebody has looked at it."""
    look, seen = memory._pss, tmp_path / "seen"

    def looked(pid: int) -> tuple[int, int]:
        found = look(pid)
        if found[0] > 200_000_000:
            seen.touch()
        return found

    monkeypatch.setattr(memory, "_pss", looked)
    child = f"import os, time; held = bytearray(200_000_000)\nwhile not os.path.exists({str(seen)!r}): time.sleep(0.01)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    peak = memory.peak_gb([sys.executable, "-c", parent])
    assert peak is not None
    assert 0.2 < peak < 0.4
    with pytest.raises(RuntimeError, match="no such thing"):
        memory.peak_gb([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_tiles_of_both_formats_are_the_demo_at_another_size(tmp_path: Path) -> None:
    unions = survey.load("unions")
    raw, rice = (tiles.made(tmp_path, 400, form, count=2) for form in tiles.FORMATS)
    assert [tile.name for tile in raw] == ["217.292", "218.292"]
    opened = [open_tile(unions, tile) for tile in (raw[0], raw[1], rice[0])]
    assert opened[0].flux.shape == (5, 400, 400)
    assert all(opened[0].present)
    np.testing.assert_array_equal(opened[0].flux, opened[1].flux)
    found = [len(sources.detect(image)) for image in (opened[0], opened[2])]
    assert found[1] == pytest.approx(found[0], rel=0.1)
    assert sum(p.stat().st_size for p in rice[0].files.values()) < 0.5 * sum(
        path.stat().st_size for path in raw[0].files.values()
    )


def test_plain_loop_embeds_the_same_windows(tmp_path: Path) -> None:
    """A loop that did less work would be no peer: each of its vectors is that of the window at its position."""
    contract = tiny_encoder.contract()
    running = default_session(tiny_encoder.write(tmp_path / "encoder.onnx", contract))
    tile = tiles.made(tmp_path, 400, "raw", count=1)[0]
    count = plain_loop.scan([tile], running, contract.window, 20, tmp_path)
    rows = plain_loop.pq.read_table(tmp_path / "217.292.parquet")
    assert len(rows) == count == 20
    opened = open_tile(survey.load("unions"), tile)
    wcs = opened.wcs[opened.detection]
    assert wcs is not None
    x, y = (np.round(p).astype(int) for p in wcs.all_world2pix(rows["ra"].to_numpy(), rows["dec"].to_numpy(), 0))
    half, flux = contract.window // 2, np.nan_to_num(opened.flux)
    inside = np.flatnonzero((np.minimum(x, y) >= half) & (np.maximum(x, y) <= 400 - half))
    assert len(inside) > 10
    for place in inside:
        window = flux[:, y[place] - half : y[place] + half, x[place] - half : x[place] + half]
        expected = running.run(None, {"flux": window[None]})[0][0]
        np.testing.assert_allclose(rows["embedding"][int(place)].as_py(), expected, atol=1e-3)


def test_clouds_are_reproducible_and_queries_lie_in_their_clusters() -> None:
    cloud = Cloud(64, 2_000)
    stored, queries = cloud.draw(2_000), cloud.draw(50, stream=1)
    np.testing.assert_array_equal(stored, cloud.draw(2_000))
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-5)
    nearest = (queries @ stored.T).max(axis=1)
    assert 0.8 < np.median(nearest) < 0.9999
    assert np.linalg.norm(stored.mean(axis=0)) < 0.6
    assert np.linalg.norm(Cloud(64, 2_000, mean=3.0).draw(2_000).mean(axis=0)) > 0.9


def test_wide_rows_are_printed_as_columns() -> None:
    narrow = report.render("x", {"rows": [{"a": 1, "b": 2.5}]})
    assert "  a    b\n  1  2.5" in narrow
    wide = report.render("x", {"rows": [{f"a_rather_long_name_{number}": number for number in range(9)}]})
    assert "  a_rather_long_name_8  8" in wide
