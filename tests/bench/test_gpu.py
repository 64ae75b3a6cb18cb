"""``make bench-gpu`` says where there is no GPU, and its steps run on a CPU, where its numbers mean nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench import gpu
from bench.encoder import torch_loop
from bench.harness.setup import Setup
from scanner.encoder import session
from scanner.encoder.contract import resolve
from tests.support import tiny_encoder
from tests.support.waiting import until

FIDELITY = {"centred_cosine": 1.0, "least_centred_cosine": 1.0, "neighbour_overlap": 1.0, "windows": 64}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    half = replace(tiny_encoder.contract(), precision="fp16", fidelity=FIDELITY)
    tiny_encoder.write(folder / "encoder_fp16.onnx", half)
    return tiny_encoder.write(folder / "encoder.onnx", tiny_encoder.contract())


@pytest.mark.skipif(session.gpu_count() > 0, reason="a GPU is here: it would be measured")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(gpu.main, ["--out", str(tmp_path / "gpu.json")])
    assert done.exit_code == 1
    assert "no NVIDIA GPU here" in done.stderr
    assert not list(tmp_path.iterdir())


def test_every_step_runs(model: Path, tmp_path: Path) -> None:
    found = gpu.measure(Setup(str(model), tmp_path, 320, quick=True), "cpu", images=40)
    rows = {row["variant"]: row for row in found["variants"]}
    assert list(rows) == ["fp32", "fp16", "fp16, pixels on the device", "PyTorch, bf16"]
    assert all(row["images_per_s"] > 0 and row["vs_pytorch"] > 0 for row in rows.values())
    assert rows["fp32"]["vs_fp32"] == rows["PyTorch, bf16"]["vs_pytorch"] == 1
    assert [row["scan"] for row in found["scans"]] == ["raw, readers: 1", "rice, readers: 1"]
    for row in found["scans"]:
        assert min(row["objects"], row["fill_s"], row["objects_per_s"], row["of_bare_encoder"]) > 0
        assert row["encoder"] + row["slowed"] + row["cut"] + row["waiting"] == pytest.approx(1)
    assert {row["stage"] for row in found["stages"]} == {"read", "detect", "cut", "infer", "write"}
    assert found["provider"] == session.CPU
    assert found["on_the_cpu"] == {"fp32": None, "fp16": None}  # not told: no GPU was asked for


def test_readers_double_up_to_all_cores_but_two() -> None:
    assert [gpu._series(cores) for cores in (1, 2, 4, 16)] == [[1], [1], [1, 2], [1, 2, 4, 8, 14]]


def test_what_is_not_told_is_not_nothing() -> None:
    assert gpu._astray({}) is None
    assert gpu._astray({session.CUDA: {"Conv"}}) == []
    assert gpu._astray({session.CUDA: {"Conv"}, session.CPU: {"Shape", "Gather"}}) == ["Gather", "Shape"]


@pytest.mark.parametrize(("astray", "code"), [(["Shape"], 1), ([], 0), (None, 0)])
def test_operators_on_the_cpu_are_an_error_once_all_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astray: list[str] | None, code: int
) -> None:
    found = {"on_the_cpu": {"fp32": [], "fp16": astray}, "variants": []}
    monkeypatch.setattr(session, "gpu_count", lambda: 1)
    monkeypatch.setattr(gpu, "measure", lambda setup, device: found)
    done = CliRunner().invoke(gpu.main, ["--out", str(tmp_path / "gpu.json")])
    assert done.exit_code == code
    assert json.loads((tmp_path / "gpu.json").read_text())["gpu"] == found
    assert ("fp16: Shape" in done.stderr) == bool(code)


def test_a_gpu_is_watched_by_its_address_on_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        def cuDeviceGet(self, handle: Any, number: int) -> int:  # noqa: N802
            handle._obj.value = 10 + number
            return 0

        def cuDeviceGetPCIBusId(self, said: Any, size: int, handle: Any) -> int:  # noqa: N802
            said.value = f"0000:{handle.value}:00.0".encode()
            return 0

    monkeypatch.setattr(session, "driver", Driver)
    assert gpu._address("cuda:2") == "0000:12:00.0"
    assert gpu._address("tensorrt") == "0000:10:00.0"
    monkeypatch.setattr(session, "driver", lambda: None)
    assert gpu._address("cuda:2") == "2"


def test_how_busy_is_told_for_a_stretch_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\nfor word; do case "$word" in --id=*) echo "${word#--id=}";; esac; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with gpu._watched("37") as busy:
        began = gpu.now().wall
        until(lambda: busy(began, gpu.now().wall) is not None)
    assert busy(began, gpu.now().wall) == 37
    assert busy(began - 2, began - 1) is None


def test_the_network_of_the_others_has_the_sizes_of_the_encoder(model: Path) -> None:
    assert torch_loop.sizes(model) == {"width": 64, "depth": 1, "heads": 1, "patch": 8, "bands": 5}
    pytest.importorskip("timm")
    assert torch_loop.network(model, 32).embed_dim == 64


def test_products_are_counted_as_torch_counts_them() -> None:
    torch = pytest.importorskip("torch")
    flop_counter = pytest.importorskip("torch.utils.flop_counter")
    path, window = resolve("small"), 64
    network = torch_loop.network(path, window)
    for block in network.blocks:
        block.attn.fused_attn = False  # which torch would not look into
    flux = torch.zeros(1, torch_loop.sizes(path)["bands"], window, window)
    with flop_counter.FlopCounterMode(display=False) as counted, torch.inference_mode():
        network(flux)
    assert counted.get_total_flops() == 2 * torch_loop.macs(path, window)


def test_how_busy_is_unknown_without_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with gpu._watched("0") as busy:
        gpu.threading.Event().wait(3 * gpu.EVERY)
    assert busy(0, gpu.now().wall) is None
