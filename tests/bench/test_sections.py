"""Every section runs, and what it says agrees with itself. No time is judged: that is for who reads the numbers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.__main__ import SECTIONS as ALL_SECTIONS
from bench.__main__ import main
from bench.search.publish import FEW_ROWS

SECTIONS = [name for name in ALL_SECTIONS if name != "efficiency"]
"""That one is the first part of ``scan``."""

BARS = {
    "encoder": ("images_per_s", "cpu_s_per_1000", "vs_default_threads", "peer_ratio"),
    "scan": ("efficiency", "efficiency_int8_raw", "efficiency_int8_rice", "vs_plain_loop", "vs_plain_loop_int8",
             "peer_ratio", "peer_ratio_int8", "device_busy", "device_busy_rice", "reader_us_per_object",
             "sections_vs_whole", "sections_vs_bare_sep", "dispatch_cpu_ms", "bytes_per_row"),
    "store": ("bytes_per_row", "write_rows_per_s", "read_rows_per_s"),
    "index": ("recall_at_10", "speedup_vs_exact", "bytes_per_row", "build_cost_vs_first"),
    "page": ("search_p95_ms", "cutouts_p95_ms", "verdicts", "rerank_s", "rerank_mixed_s"),
    "lance": ("recall_at_10", "time_vs_annoy", "filtered_time_vs_ours", "bytes_per_row"),
    "rank": ("rank_bandwidth", "read_gb_per_s", "rank_s", "knn_vs_scikit_learn"),
    "passes": ("wall_speedup", "cpu_speedup", "start_s"),
    "publish": ("files", "cpu_s_per_million_rows", "mb_per_million_rows"),
    "readers": ("map_gain",),
}  # fmt: skip


def number(text: str) -> float:
    assert float(text) > -1, text  # of the callers' time, one share is what is left; not NaN either
    return float(text)


@pytest.fixture(scope="module")
def result(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON of a quick run of everything, to a relative path as make gives."""
    folder = tmp_path_factory.mktemp("bench")
    out = os.path.relpath(folder / "bench.json")
    sections = [word for section in SECTIONS for word in ("--section", section)]
    arguments = ["--quick", "--model", str(model), "--out", out, *sections]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert all(f"== {section} ==" in done.output for section in SECTIONS)
    assert not list((folder / "bench").glob("scratch-*"))
    text = (folder / "bench.json").read_text()
    answer: dict[str, Any] = json.loads(text, parse_int=number, parse_float=number, parse_constant=number)
    return answer


def test_the_json_has_every_section_its_bars_and_the_machine(result: dict[str, Any]) -> None:
    assert set(result) == {"machine", *SECTIONS}
    assert result["machine"]["cores"] >= 1 == result["machine"]["quick"]
    assert set(result["machine"]["sections"]) == set(SECTIONS)
    assert all(load["wall_s"] > 0 for load in result["machine"]["sections"].values())
    assert all(result[section][name] > 0 for section, names in BARS.items() for name in names)
    if Path("/proc/self/smaps_rollup").exists():
        assert all(result["scan"][name] > 0.05 for name in ("peak_rss_gb", "peak_rss_low_gb"))


def test_a_scan_counts_its_objects_and_times_its_stages(result: dict[str, Any]) -> None:
    scan = result["scan"]
    # By OpenVINO too, where it is there, and in bf16 where the processor has it.
    fast = {row["scan"] for row in scan["scans"]} & {"openvino_bf16_raw", "openvino_int8_raw"}
    assert {row["scan"] for row in scan["scans"]} == {"fp32_raw", "int8_raw", "int8_rice", "int8_grid"} | fast
    for name in ("openvino_bf16", "openvino_int8"):
        assert (f"{name}_raw" in fast) == (f"{name}_over_pytorch_bf16" in scan)
    assert scan["scans"][0]["objects"] == 2 * scan["objects"] > 20  # of two tiles
    assert scan["scans"][-1]["objects"] == (scan["pixels"] // 32) ** 2
    for row in scan["scans"]:
        assert row["lowest"] <= row["efficiency"] <= row["highest"]
        assert sum(row[part] for part in ("encoder", "slowed", "cut", "waiting")) == pytest.approx(1)
    assert {row["stage"] for row in scan["stages"]} == {"read", "detect", "cut", "infer", "write"}
    assert set(scan["where_time_goes"]) == {"fp32_raw", "int8_raw", "int8_rice"} | fast
    usual, crowded, empty, many = scan["tiles"]
    assert crowded["objects"] > usual["objects"] == scan["objects"] > empty["objects"]
    assert many["objects"] == 102  # 100,000 in a survey tile
    assert len(scan["twenty_tiles"]["seconds"]) == len(scan["twenty_tiles"]["peaks_gb"]) == 3
    assert [row["readers"] for row in scan["feeding"]] == [1, 1]
    assert scan["device_busy"] <= 1
    needed = [row["readers"] for row in scan["readers_needed"]]
    assert needed == sorted(needed)
    assert scan["sections_duplicates"] == 0
    unmeasured = {row["bar"] for row in scan["bars"] if row["met"] == "not measured"}
    # tiles so small are over before anyone looks; a fast device wants more cores than there may be
    assert unmeasured <= {
        "twenty_tiles.memory_last_vs_first",
        "fast_device_busy",
        "planned_device_busy",
        "openvino_bf16_over_hyrax",
        "scores_cost",  # this model has none
        "scores_cost_cpu",
    }


def test_people_at_the_page_lose_nothing(result: dict[str, Any]) -> None:
    page = result["page"]
    assert (page["lost"], page["verdicts"], page["people"]) == (0, 24, 3)  # a batch of 8 by each
    assert [row["phase"] for row in page["phases"]] == [
        "search", "search at once", "cutouts", "cutouts at once", "verdicts",
    ]  # fmt: skip
    for row in page["phases"]:
        assert row["errors"] == 0 < row["p50_ms"] <= row["p95_ms"] <= row["max_ms"]
    assert [row["tiles"] for row in page["cold"]] == ["raw", "rice"]
    assert all(row["without_pixels"] == 0 for row in page["cold"])


def test_search_agrees_with_itself_and_with_others(result: dict[str, Any]) -> None:
    for row in result["store"]["dimensions"]:
        assert 0 < row["embedding_bytes_per_row"] < row["bytes_per_row"] < row["plain_bytes_per_row"]
    for row in result["index"]["catalogues"]:
        assert 0 <= row["index_recall_low"] <= row["index_recall_at_10"] <= row["index_recall_high"] <= 1
        assert row["recall_at_10"] == 1  # of the default, exact at this size
        assert row["bytes_per_row"] > 2 * row["embedding_dim"]
    for row in result["index"]["peers"]:
        assert "not installed" in row["index"] or row["recall_at_10"] > 0.8
    assert all(0.9 < row["recall_at_10"] <= 1 and row["speedup"] > 0 for row in result["index"]["variants"])
    for row in result["readers"]["readers"]:
        assert row["reader"].endswith("not installed") or (row["agrees"] == 1 and row["cpu_s"] > 0)
    assert 0.8 * FEW_ROWS < result["publish"]["rows"] < FEW_ROWS  # copies in overlaps stay out
