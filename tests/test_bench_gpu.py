"""``make bench-gpu`` says where there is no GPU, and its steps run on a CPU, where its numbers mean nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import gpu, torch_loop
from bench.setup import Setup
from scanner import runtime
from tests.support import tiny_encoder

FIDELITY = {"centred_cosine": 1.0, "least_centred_cosine": 1.0, "neighbour_overlap": 1.0, "windows": 64}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    half = replace(tiny_encoder.contract(), precision="fp16", fidelity=FIDELITY)
    tiny_encoder.write(folder / "encoder_fp16.onnx", half)
    return tiny_encoder.write(folder / "encoder.onnx", tiny_encoder.contract())


@pytest.mark.skipif(runtime.gpu_count() > 0, reason="a GPU is here: it would be measured")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(gpu.main, ["--out", str(tmp_path / "gpu.json")])
    assert done.exit_code == 1
    assert "no NVIDIA GPU here" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.timeout(240)
def test_every_step_runs(model: Path, tmp_path: Path) -> None:
    found = gpu.measure(Setup(str(model), tmp_path, 320, quick=True), "cpu", images=40)
    assert [row["variant"] for row in found["variants"]] == ["fp32", "fp16", "PyTorch, bf16"]
    assert all(row["images_per_s"] > 0 for row in found["variants"])
    assert found["scan"]["tiles"] == 3
    assert found["scan"]["objects_per_s"] > 0
    assert found["provider"] == runtime.CPU


def test_the_network_of_the_others_has_the_sizes_of_the_encoder(model: Path) -> None:
    assert torch_loop.sizes(model) == {"width": 64, "depth": 1, "heads": 1, "patch": 8, "bands": 5}
    pytest.importorskip("timm")
    assert torch_loop.network(model, 32).embed_dim == 64


def test_how_busy_is_unknown_without_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with gpu._watched() as busy:
        gpu.threading.Event().wait(3 * gpu.EVERY)
    assert busy() is None
