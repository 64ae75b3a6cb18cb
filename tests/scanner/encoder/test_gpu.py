"""The GPU's path, as far as a CPU can show it: buffers, the fixed graph, placement, options; the rest needs a GPU."""

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
from scanner.encoder.buffers import Binding, page_lock
from scanner.encoder.encoder import GPU_BATCH, Encoder
from tests.support import tiny_encoder

ROWS = 12
needs_gpu = pytest.mark.skipif(session.gpu_count() == 0, reason="no GPU here: what runs where shows on a GPU only")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder.write(tmp_path_factory.mktemp("gpu") / "encoder.onnx", tiny_encoder.contract())


@pytest.fixture(scope="module")
def flux() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 50, (30, 5, 32, 32)).astype(np.float32)


def fixed(model: Path, rows: int = ROWS) -> Any:
    """The session that a GPU would get, on the CPU."""
    loaded = session.load()
    return session._session(loaded, model, [session.CPU], session._options(loaded, rows, True))


def test_a_binding_gives_what_a_plain_call_gives(model: Path, flux: NDArray[np.float32]) -> None:
    onnx_session = fixed(model)
    binding = Binding(onnx_session, session.CPU, ROWS, (5, 32, 32), 48)
    expected = onnx_session.run(None, {"flux": flux[:ROWS]})[0]
    np.testing.assert_array_equal(binding.run(flux[:ROWS]), expected)


def test_a_binding_is_used_again_and_keeps_nothing(model: Path, flux: NDArray[np.float32]) -> None:
    """What was returned is not overwritten by the next batch; a short batch sees nothing of the one before."""
    binding = Binding(fixed(model), session.CPU, ROWS, (5, 32, 32), 48)
    first = binding.run(flux[:ROWS])
    kept = first.copy()
    short = binding.run(flux[20:23])
    assert short.shape == (3, 48)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(short, Binding(fixed(model), session.CPU, ROWS, (5, 32, 32), 48).run(flux[20:23]))
    sliced = np.stack([flux, flux], axis=1)[:ROWS, 0]  # not contiguous
    np.testing.assert_array_equal(binding.run(sliced), kept)


def test_the_encoder_takes_a_graph_fixed_to_its_batch(
    model: Path, flux: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def opened(path: Path, device: str, rows: Any = None, **_: bool) -> tuple[Any, str]:
        asked.append(rows(session.CUDA))
        return fixed(path, rows(session.CPU)), session.CPU

    with Encoder(model, device="cpu") as plain:
        expected = plain.embed(flux)
    monkeypatch.setattr(session, "open_session", opened)
    with Encoder(model, device="cpu", threads=2) as encoder:
        np.testing.assert_allclose(encoder.embed(flux), expected, atol=1e-5)
    assert asked == [GPU_BATCH]


def test_placement_names_every_operator_and_where_it_runs(model: Path) -> None:
    found = session.placement(fixed(model))
    if not found:
        pytest.skip("this ONNX Runtime does not tell what runs where")
    assert set(found) == {session.CPU}
    assert {"Conv", "Softmax"} <= found[session.CPU]


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


class Driver:
    """In place of NVIDIA's driver: keeps account of what is page-locked, and fails at ``broken``."""

    def __init__(self, broken: str = "") -> None:
        self.locked: dict[int, int] = {}
        self.gpus: list[int] = []
        self.entered = 0
        self._broken = broken

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *given: 801 if name == self._broken else self._call(name, *given)

    def _call(self, name: str, *given: Any) -> int:
        if name == "cuDeviceGet":
            self.gpus.append(given[1])
        elif name == "cuDevicePrimaryCtxRetain":
            given[0]._obj.value = 77
        elif name == "cuCtxPushCurrent_v2":
            assert given[0].value == 77
            self.entered += 1
        elif name == "cuCtxPopCurrent_v2":
            self.entered -= 1
        elif name == "cuMemHostRegister_v2":
            assert self.entered == given[2] == 1
            self.locked[given[0].value] = given[1].value
        elif name == "cuMemHostUnregister":
            assert self.entered == 1
            del self.locked[given[0].value]
        else:
            raise AssertionError(name)
        return 0


def test_batches_for_a_gpu_go_through_page_locked_memory_for_as_long_as_it_is_used(
    model: Path, flux: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, sent = Driver(), list[int]()
    values = session.load().OrtValue
    copy = values.update_inplace
    monkeypatch.setattr(session, "driver", lambda: driver)
    monkeypatch.setattr(session, "place", lambda onnx_session, provider: ("cpu", 0))
    monkeypatch.setattr(values, "update_inplace", lambda to, data: (sent.append(data.ctypes.data), copy(to, data))[1])
    expected = fixed(model).run(None, {"flux": flux[:ROWS]})[0]
    binding = Binding(fixed(model), session.CUDA, ROWS, (5, 32, 32), 48)
    assert binding.page_locked
    assert sorted(driver.locked.values()) == [4 * ROWS * 48, 4 * ROWS * 5 * 32 * 32]
    assert all(address % mmap.PAGESIZE == 0 for address in driver.locked)
    first, short = binding.run(flux[:ROWS]), binding.run(flux[:3])
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(short, expected[:3])
    assert set(sent) <= set(driver.locked)
    del binding
    gc.collect()
    assert not driver.locked
    np.testing.assert_array_equal(first, expected)


@pytest.mark.parametrize("rows", [ROWS, 3])
def test_on_a_cpu_windows_are_computed_where_they_were_put(model: Path, flux: NDArray[np.float32], rows: int) -> None:
    binding = Binding(fixed(model), session.CPU, ROWS, (5, 32, 32), 48)
    for batch in (flux[:ROWS], flux[-ROWS:]):
        expected = fixed(model).run(None, {"flux": batch})[0][:rows]
        binding.flux[:] = batch
        np.testing.assert_array_equal(binding.run(binding.flux[:rows]), expected)
        np.testing.assert_array_equal(binding.run(batch[:rows].astype(float)), expected)
        binding.flux[1:] = batch[:-1]
        np.testing.assert_array_equal(binding.run(binding.flux[1 : rows + 1])[: ROWS - 1], expected[: ROWS - 1])
    assert not binding.page_locked


@pytest.mark.parametrize(
    "broken", ["", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuMemHostRegister_v2"]
)
def test_a_driver_that_locks_no_pages_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    driver = Driver(broken)
    monkeypatch.setattr(session, "driver", lambda: driver)
    caplog.set_level(logging.DEBUG)
    unlock = page_lock(4096, 8192, 2)
    assert (unlock is None) == bool(broken) == ("error 801" in caplog.text)
    assert driver.entered == 0
    if unlock is not None:
        assert driver.gpus == [2]
        assert driver.locked == {4096: 8192}
        assert unlock() == 0
    assert not driver.locked


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_no_node_falls_back_to_the_cpu(precision: str) -> None:
    with Encoder("small", device="cuda", precision=precision) as encoder:
        found = encoder.placement
    assert set(found) == {session.CUDA}, f"on the CPU: {found.get(session.CPU)}"


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
            np.testing.assert_allclose(there.embed_batch(there.buffer()[:rows]), expected[:rows], atol=1e-4)
