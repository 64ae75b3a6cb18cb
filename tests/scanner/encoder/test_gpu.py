"""The GPU's path, as far as a CPU can show it: what reaches the session, what a binding gives; the rest needs a GPU."""

from __future__ import annotations

import gc
import logging
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from scanner.encoder import session
from scanner.encoder.buffers import Binding, Encoded, page_lock, pages
from scanner.encoder.encoder import Encoder
from scanner.encoder.runtime import GPU_BATCH
from tests.support import tiny_encoder

ROWS = 12
needs_gpu = pytest.mark.skipif(session.gpu_count() == 0, reason="no GPU here: what runs where shows on a GPU only")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder.write(
        tmp_path_factory.mktemp("gpu") / "encoder.onnx", tiny_encoder.contract(scores=tiny_encoder.SCORES)
    )


@pytest.fixture(scope="module")
def flux() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 50, (30, 5, 32, 32)).astype(np.float32)


def fixed(model: Path, rows: int = ROWS) -> Any:
    """The session that a GPU would get, on the CPU."""
    loaded = session.load()
    return session._session(loaded, model, [session.CPU], session._options(loaded, rows, True))


class Driver:
    """In place of NVIDIA's driver: notes each call, and fails at ``broken``."""

    def __init__(self, broken: str) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self._broken = broken

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *arguments: 801 if name == self._broken else self.calls.append((name, arguments)) or 0

    def count(self, name: str) -> int:
        return [call for call, _ in self.calls].count(name)


@pytest.mark.parametrize("driver", ["cpu", "none", "sound", "cuDeviceGet", "cuDevicePrimaryCtxRetain",
                                    "cuCtxPushCurrent_v2", "cuMemHostRegister_v2"])  # fmt: skip
def test_a_binding_gives_what_a_plain_call_gives_and_overwrites_none_of_it(
    model: Path, flux: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    """Whole batches and short ones, copied or written in place, whether or not a driver locks pages."""

    def check(encoded: Encoded, vectors: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
        np.testing.assert_array_equal(encoded.vectors, vectors)
        np.testing.assert_array_equal(encoded.scores, scores)

    nvidia = Driver(driver)
    monkeypatch.setattr(session, "driver", lambda: None if driver == "none" else nvidia)
    monkeypatch.setattr(session, "place", lambda onnx_session, name: ("cpu", 0))
    onnx_session = fixed(model)
    whole, other = (Encoded(*onnx_session.run(None, {"flux": batch})) for batch in (flux[:ROWS], flux[-ROWS:]))
    binding = Binding(onnx_session, session.CPU if driver == "cpu" else session.CUDA, ROWS, (5, 32, 32), 48, 2)
    assert binding.page_locked == (driver == "sound") == (nvidia.count("cuMemHostRegister_v2") == 3)
    first = binding.run(flux[:ROWS])
    binding.flux[:] = flux[-ROWS:]
    check(binding.run(binding.flux), *other)
    check(binding.run(binding.flux[:3]), other.vectors[:3], other.scores[:3])
    binding.flux[1:] = flux[: ROWS - 1]  # not at the begin of the buffer
    check(binding.run(binding.flux[1:]), whole.vectors[:-1], whole.scores[:-1])
    check(binding.run(flux[:3].astype(float)), whole.vectors[:3], whole.scores[:3])
    check(binding.run(np.stack([flux, flux], axis=1)[:ROWS, 0]), *whole)  # not contiguous
    del binding
    gc.collect()
    check(first, *whole)
    assert nvidia.count("cuMemHostRegister_v2") == nvidia.count("cuMemHostUnregister")
    assert nvidia.count("cuCtxPushCurrent_v2") == nvidia.count("cuCtxPopCurrent_v2")


@pytest.mark.parametrize("broken", ["", "cuMemHostRegister_v2"])
def test_whole_pages_are_locked_for_the_gpu_in_use_and_a_refusal_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    nvidia = Driver(broken)
    monkeypatch.setattr(session, "driver", lambda: nvidia)
    caplog.set_level(logging.DEBUG)
    assert (page_lock(4096, 8192, 2) is None) == bool(broken) == ("error 801" in caplog.text)
    assert dict(nvidia.calls)["cuDeviceGet"][1] == 2
    assert pages(3, 5).ctypes.data % mmap.PAGESIZE == 0


def test_the_encoder_takes_a_graph_fixed_to_its_batch(
    model: Path, flux: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []

    def open_session(path: Path, device: str, rows: Any = None, **_: bool) -> tuple[Any, str]:
        batches.append(rows(session.CUDA))
        return fixed(path, rows(session.CPU)), session.CPU

    with Encoder(model, device="cpu") as plain:
        expected = plain.embed(flux)
    monkeypatch.setattr(session, "open_session", open_session)
    with Encoder(model, device="cpu", threads=2) as encoder:
        np.testing.assert_allclose(encoder.embed(flux), expected, atol=1e-5)
    assert batches == [GPU_BATCH]


def test_placement_names_every_operator_and_where_it_runs(model: Path) -> None:
    operators = session.placement(fixed(model))
    if not operators:
        pytest.skip("this ONNX Runtime does not tell what runs where")
    assert set(operators) == {session.CPU}
    assert {"Conv", "Softmax"} <= operators[session.CPU]


@pytest.mark.parametrize("name", ["encoder.onnx", "encoder_fp16.onnx"])
def test_the_shipped_graph_asks_for_no_shape_once_its_batch_is_fixed(tmp_path: Path, name: str) -> None:
    """Such questions are answered by the CPU, with a wait for the GPU at each."""
    shipped = Path(session.__file__).parents[1] / "models" / "small" / name
    if not shipped.is_file():
        pytest.skip("no model ships with this checkout")
    loaded = session.load()
    options = session._options(loaded, 16, True)
    options.optimized_model_filepath = str(tmp_path / "fixed.onnx")
    session._session(loaded, shipped, [session.CPU], options)
    kinds = {node.op_type for node in onnx.load(tmp_path / "fixed.onnx").graph.node}
    assert not kinds & {"Shape", "ConstantOfShape", "Gather", "Range", "NonZero"}


@pytest.mark.parametrize(("device", "first", "number"), [("cuda", session.CUDA, 0), ("cuda:3", session.CUDA, 3),
                                                         ("tensorrt", session.TENSORRT, 0)])  # fmt: skip
def test_the_options_say_which_gpu_and_keep_fp32_exact(device: str, first: str, number: int) -> None:
    providers = dict(session.gpu_providers(device))
    assert next(iter(providers)) == first
    assert {options["device_id"] for options in providers.values()} == {number}
    assert providers[session.CUDA]["use_tf32"] == 0
    if first == session.TENSORRT:
        assert providers[first]["trt_engine_cache_enable"]
        assert not providers[first]["trt_fp16_enable"]
        assert dict(session.gpu_providers(device, half=True))[first]["trt_fp16_enable"]
        assert Path(providers[first]["trt_engine_cache_path"]).parts[-2:] == ("unions-scanner", "tensorrt")


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_no_node_falls_back_to_the_cpu(precision: str) -> None:
    with Encoder("small", device="cuda", precision=precision) as encoder:
        operators = encoder.placement
    assert set(operators) == {session.CUDA}, f"on the CPU: {operators.get(session.CPU)}"


@needs_gpu
def test_a_gpu_gives_the_vectors_of_the_cpu() -> None:
    """Full batches and short ones, the first of each caller and those after it."""
    flux = np.random.default_rng(0).normal(0, 50, (200, 5, 64, 64)).astype(np.float32)
    with Encoder("small", device="cuda", batch=32) as there, Encoder("small", device="cpu") as here:
        assert there.page_locked
        expected = here.embed(flux)
        for _ in range(2):
            np.testing.assert_allclose(there.embed(flux), expected, atol=1e-4)
        for rows in (32, 3):  # from the caller's own buffer
            there.buffer()[:rows] = flux[:rows]
            np.testing.assert_allclose(there.encode_batch(there.buffer()[:rows]).vectors, expected[:rows], atol=1e-4)
