"""The GPU's path, as far as a CPU can show it: buffers, the fixed graph, placement, options; the rest needs a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from scanner import runtime
from scanner.binding import Binding
from scanner.encoder import GPU_BATCH, Encoder
from tests.support import tiny_encoder

ROWS = 12
needs_gpu = pytest.mark.skipif(runtime.gpu_count() == 0, reason="no GPU here: what runs where shows on a GPU only")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder.write(tmp_path_factory.mktemp("gpu") / "encoder.onnx", tiny_encoder.contract())


@pytest.fixture(scope="module")
def flux() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 50, (30, 5, 32, 32)).astype(np.float32)


def fixed(model: Path, rows: int = ROWS) -> Any:
    """The session that a GPU would get, on the CPU."""
    loaded = runtime.load()
    return runtime._session(loaded, model, [runtime.CPU], runtime._options(loaded, rows, True))


def test_a_binding_gives_what_a_plain_call_gives(model: Path, flux: NDArray[np.float32]) -> None:
    session = fixed(model)
    binding = Binding(session, runtime.CPU, ROWS, (5, 32, 32), 48)
    expected = session.run(None, {"flux": flux[:ROWS]})[0]
    np.testing.assert_array_equal(binding.run(flux[:ROWS]), expected)


def test_a_binding_is_used_again_and_keeps_nothing(model: Path, flux: NDArray[np.float32]) -> None:
    """What was returned is not overwritten by the next batch; a short batch sees nothing of the one before."""
    binding = Binding(fixed(model), runtime.CPU, ROWS, (5, 32, 32), 48)
    first = binding.run(flux[:ROWS])
    kept = first.copy()
    short = binding.run(flux[20:23])
    assert short.shape == (3, 48)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(short, Binding(fixed(model), runtime.CPU, ROWS, (5, 32, 32), 48).run(flux[20:23]))
    sliced = np.stack([flux, flux], axis=1)[:ROWS, 0]  # not contiguous
    np.testing.assert_array_equal(binding.run(sliced), kept)


def test_the_encoder_takes_a_graph_fixed_to_its_batch(
    model: Path, flux: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def opened(path: Path, device: str, rows: Any = None, optimise: bool = True) -> tuple[Any, str]:
        asked.append(rows(runtime.CUDA))
        return fixed(path, rows(runtime.CPU)), runtime.CPU

    with Encoder(model, device="cpu") as plain:
        expected = plain.embed(flux)
    monkeypatch.setattr(runtime, "open_session", opened)
    with Encoder(model, device="cpu", threads=2) as encoder:
        np.testing.assert_allclose(encoder.embed(flux), expected, atol=1e-5)
    assert asked == [GPU_BATCH]


def test_placement_names_every_operator_and_where_it_runs(model: Path) -> None:
    found = runtime.placement(fixed(model))
    if not found:
        pytest.skip("this ONNX Runtime does not tell what runs where")
    assert set(found) == {runtime.CPU}
    assert {"Conv", "Softmax"} <= found[runtime.CPU]


def test_the_shipped_graph_asks_for_no_shape_once_its_batch_is_fixed(tmp_path: Path) -> None:
    """Such questions are answered by the CPU, with a wait for the GPU at each."""
    shipped = Path(runtime.__file__).parent / "models" / "small" / "encoder.onnx"
    if not shipped.is_file():
        pytest.skip("no model ships with this checkout")
    loaded = runtime.load()
    options = runtime._options(loaded, 16, True)
    options.optimized_model_filepath = str(tmp_path / "fixed.onnx")
    runtime._session(loaded, shipped, [runtime.CPU], options)
    kinds = {node.op_type for node in onnx.load(tmp_path / "fixed.onnx").graph.node}
    assert not kinds & {"Shape", "ConstantOfShape", "Gather", "Range", "NonZero"}


@pytest.mark.parametrize(("device", "first", "number"), [("cuda", runtime.CUDA, 0), ("cuda:3", runtime.CUDA, 3),
                                                         ("tensorrt", runtime.TENSORRT, 0)])  # fmt: skip
def test_the_options_say_which_gpu_and_keep_fp32_exact(device: str, first: str, number: int) -> None:
    providers = dict(runtime.gpu_providers(device))
    assert next(iter(providers)) == first
    assert {options["device_id"] for options in providers.values()} == {number}
    assert providers[runtime.CUDA]["use_tf32"] == 0
    if first == runtime.TENSORRT:
        assert providers[first]["trt_engine_cache_enable"]
        assert not providers[first]["trt_fp16_enable"]
        assert dict(runtime.gpu_providers(device, half=True))[first]["trt_fp16_enable"]
        assert Path(providers[first]["trt_engine_cache_path"]).parts[-2:] == ("unions-scanner", "tensorrt")


def test_buffers_lie_where_the_session_is() -> None:
    class Session:
        def get_provider_options(self) -> dict[str, dict[str, str]]:
            return {runtime.CUDA: {"device_id": "2"}, runtime.CPU: {}}

    assert runtime.place(Session(), runtime.CUDA) == ("cuda", 2)
    assert runtime.place(Session(), runtime.CPU) == ("cpu", 0)


@needs_gpu
def test_no_node_falls_back_to_the_cpu() -> None:
    with Encoder("small", device="cuda") as encoder:
        found = encoder.placement
    assert set(found) == {runtime.CUDA}, f"on the CPU: {found.get(runtime.CPU)}"


@needs_gpu
def test_a_gpu_gives_the_vectors_of_the_cpu() -> None:
    flux = np.random.default_rng(0).normal(0, 50, (70, 5, 64, 64)).astype(np.float32)
    with Encoder("small", device="cuda", batch=32) as there, Encoder("small", device="cpu") as here:
        np.testing.assert_allclose(there.embed(flux), here.embed(flux), atol=1e-4)
