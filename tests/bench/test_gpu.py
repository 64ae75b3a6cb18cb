"""``make bench-gpu`` says where there is no GPU, and its steps run on a CPU, where its numbers mean nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import gpu
from bench.harness.setup import Setup
from scanner.encoder import session
from tests.support.waiting import until


def test_every_step_runs(model: Path, tmp_path: Path) -> None:
    answer = gpu.measure(Setup(str(model), tmp_path, 320, quick=True), "cpu", images=40)
    rows = {row["variant"]: row for row in answer["variants"]}
    assert list(rows) == ["fp32", "fp16", "fp16, pixels on the device", "PyTorch, bf16"]
    assert all(row["images_per_s"] > 0 and row["vs_pytorch"] > 0 for row in rows.values())
    assert rows["fp32"]["vs_fp32"] == rows["PyTorch, bf16"]["vs_pytorch"] == 1
    assert [row["scan"] for row in answer["scans"]] == ["raw, readers: 1", "rice, readers: 1"]
    assert all(
        row["encoder"] + row["slowed"] + row["cut"] + row["waiting"] == pytest.approx(1) for row in answer["scans"]
    )
    assert {row["stage"] for row in answer["stages"]} == {"read", "detect", "cut", "infer", "write"}
    assert answer["on_the_cpu"] == {"fp32": None, "fp16": None}  # unknown: a session on a CPU keeps no account


@pytest.mark.parametrize(("gpus", "astray", "code", "message"), [
    (0, None, 1, "no NVIDIA GPU here"), (1, ["Shape"], 1, "fp16: Shape"), (1, [], 0, ""), (1, None, 0, ""),
])  # fmt: skip
def test_without_a_gpu_nothing_is_written_and_operators_on_the_cpu_are_an_error_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, astray: list[str] | None, code: int, message: str
) -> None:
    answer = {"on_the_cpu": {"fp32": [], "fp16": astray}, "variants": []}
    monkeypatch.setattr(session, "gpu_count", lambda: gpus)
    monkeypatch.setattr(gpu, "measure", lambda setup, device: answer)
    done = CliRunner().invoke(gpu.main, ["--out", str(tmp_path / "gpu.json")])
    assert (done.exit_code, message in done.stderr) == (code, True)
    assert [json.loads(path.read_text())["gpu"] for path in tmp_path.glob("*.json")] == [answer] * gpus


@pytest.mark.parametrize("installed", [True, False])
def test_how_busy_a_gpu_was_is_of_a_stretch_of_time_or_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\nfor word; do case "$word" in --id=*) echo "${word#--id=}";; esac; done\n')
    program.chmod(0o755 if installed else 0)
    monkeypatch.setenv("PATH", str(tmp_path) if installed else "")
    began = gpu.now().wall
    with gpu._watched("37") as busy:
        until(lambda: not installed or busy(began, gpu.now().wall) is not None)
    assert busy(began, gpu.now().wall) == (37 if installed else None)
    assert busy(began - 2, began - 1) is None
