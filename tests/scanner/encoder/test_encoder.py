"""The encoder refuses what it cannot trust, and a row's vector depends on nothing but its own pixels."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from catalogs.errors import ScannerError
from scanner.encoder import session
from scanner.encoder.contract import shipped
from scanner.encoder.encoder import Encoder
from tests.support import tiny_encoder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough for the blocked matrix kernels of a real encoder."""
    path = tmp_path_factory.mktemp("model") / "encoder.onnx"
    return tiny_encoder.write(path, tiny_encoder.contract(window=64, dim=96), width=192)


@pytest.fixture(scope="module")
def encoder(model: Path) -> Encoder:
    return Encoder(model, device="cpu", threads=1)


@pytest.fixture(scope="module")
def windows() -> NDArray[np.float32]:
    """90 windows with the range of real ones: noise, bright stars, gaps, a missing band, nothing at all."""
    rng = np.random.default_rng(7)
    flux = rng.normal(0, 30, (90, 5, 64, 64)).astype(np.float32)
    flux[::7] *= 1e4
    flux[3, :, :20] = np.nan
    flux[10:20, 0] = np.nan
    flux[50] = np.nan
    return flux


def test_reads_the_contract_and_knows_the_file(encoder: Encoder, model: Path) -> None:
    import hashlib

    assert encoder.contract.bands == ("u", "g", "r", "i", "z")
    assert encoder.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert encoder.provider == "CPUExecutionProvider"
    assert encoder.precision == "fp32"


def test_vectors_are_finite_and_of_unit_length(encoder: Encoder, windows: NDArray[np.float32]) -> None:
    vectors = encoder.embed(windows)
    assert vectors.shape == (90, 96)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.embed(windows[:0]).shape == (0, 96)


@pytest.mark.parametrize("rows", [1, 2, 15, 16, 17, 31, 90])
def test_a_row_does_not_depend_on_how_many_are_asked_for(
    encoder: Encoder, windows: NDArray[np.float32], rows: int
) -> None:
    np.testing.assert_array_equal(encoder.embed(windows[:rows]), encoder.embed(windows)[:rows])


def test_a_row_does_not_depend_on_its_neighbours_or_place(encoder: Encoder, windows: NDArray[np.float32]) -> None:
    expected = encoder.embed(windows)
    order = np.random.default_rng(1).permutation(len(windows))
    np.testing.assert_array_equal(encoder.embed(windows[order]), expected[order])
    for place in range(16):
        block = windows[16:32].copy()
        block[place] = windows[0]
        np.testing.assert_array_equal(encoder.embed(block)[place], expected[0])


@pytest.mark.parametrize("batch", [1, 4, 8, 33, 64])
def test_a_row_does_not_depend_on_the_batch_of_the_session(
    encoder: Encoder, model: Path, windows: NDArray[np.float32], batch: int
) -> None:
    other = Encoder(model, device="cpu", threads=1, batch=batch)
    np.testing.assert_array_equal(other.embed(windows), encoder.embed(windows))


def test_a_row_does_not_depend_on_the_thread(encoder: Encoder, model: Path, windows: NDArray[np.float32]) -> None:
    expected = encoder.embed(windows)
    with Encoder(model, device="cpu", threads=4) as many:
        for _ in range(5):
            np.testing.assert_array_equal(many.embed(windows), expected)
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(encoder.encode_batch, [windows[:16]] * 12):
            np.testing.assert_array_equal(rows.vectors, expected[:16])


def test_windows_of_another_shape_are_a_bug_of_the_caller(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match=r"\[N, 5, 64, 64\]"):
        encoder.embed(np.zeros((1, 3, 64, 64), np.float32))


def test_infinite_flux_comes_back_as_nan_and_hurts_nobody_else(encoder: Encoder, windows: NDArray[np.float32]) -> None:
    flux = windows[:4].copy()
    flux[2, 1, 5, 5] = np.inf
    vectors = encoder.embed(flux)
    assert np.isnan(vectors[2]).all()
    np.testing.assert_array_equal(vectors[[0, 1, 3]], encoder.embed(windows)[[0, 1, 3]])


def refusal(path: Path, device: str = "cpu") -> ScannerError:
    with pytest.raises(ScannerError) as caught:
        Encoder(path, device=device)
    return caught.value


def test_a_file_without_contract_is_refused_by_name(tmp_path: Path) -> None:
    path = tiny_encoder.write(tmp_path / "bare.onnx", tiny_encoder.contract(), metadata="")
    error = refusal(path)
    assert error.code == "model.no_contract"
    assert "bare.onnx" in error.message


@pytest.mark.parametrize(
    "change", [{"bands": ["g", "r", "i"]}, {"window": 64}, {"embedding_dim": 7}, {"mask_ratio": 0.75}, {"bands": 5}]
)
def test_a_contract_that_disagrees_with_the_graph_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    text = json.dumps(tiny_encoder.contract().to_dict() | change)
    error = refusal(tiny_encoder.write(tmp_path / "odd.onnx", tiny_encoder.contract(), metadata=text))
    assert error.code == "model.bad_contract"


def test_other_names_of_input_or_output_are_refused(tmp_path: Path) -> None:
    model = onnx.load(tiny_encoder.write(tmp_path / "a.onnx", tiny_encoder.contract()))
    model.graph.node.append(helper.make_node("Identity", ["embedding"], ["vector"]))
    model.graph.output[0].name = "vector"
    onnx.save(model, tmp_path / "b.onnx")
    assert refusal(tmp_path / "b.onnx").code == "model.bad_contract"


def test_a_graph_that_lets_gaps_through_is_refused(tmp_path: Path) -> None:
    model = onnx.load(tiny_encoder.write(tmp_path / "a.onnx", tiny_encoder.contract()))
    for node in model.graph.node:
        node.input[:] = ["flux" if name == "filled" else name for name in node.input]
    onnx.save(model, tmp_path / "b.onnx")
    assert refusal(tmp_path / "b.onnx").code == "model.bad_output"


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(b"not a model")
    assert refusal(tmp_path / "encoder.onnx").code == "model.unreadable"
    assert refusal(tmp_path / "nowhere.onnx").code == "model.missing"


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:", "cpu:1", ""])
def test_an_unknown_device_is_named(model: Path, device: str) -> None:
    assert refusal(model, device).code == "device.unknown"


@pytest.mark.skipif(session.gpu_count() > 0, reason="a GPU is here: nothing to refuse")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tensorrt"])
def test_a_gpu_that_did_not_come_is_an_error_not_a_slow_scan(
    model: Path, device: str, capfd: pytest.CaptureFixture[str]
) -> None:
    error = refusal(model, device)
    assert capfd.readouterr().out == ""
    assert error.code == "device.unavailable"
    assert "unions-scanner[cuda]" in error.hint


@pytest.mark.skipif(session.gpu_count() > 0, reason="a GPU is here: auto takes it")
def test_auto_takes_the_cpu_where_there_is_no_gpu(model: Path) -> None:
    assert Encoder(model).provider == "CPUExecutionProvider"


def test_both_runtimes_in_one_environment_are_told(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
    Encoder(model, device="cpu")
    assert "pip uninstall onnxruntime onnxruntime-gpu" in caplog.text


def test_without_onnxruntime_the_message_says_what_to_install(model: Path) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None; sys.modules['importlib.metadata'].version = None\n"
        "from importlib import metadata\n"
        "def absent(name): raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = absent\n"
        "from scanner.encoder.encoder import Encoder\n"
        "from catalogs.errors import ScannerError\n"
        f"try: Encoder({str(model)!r})\n"
        "except ScannerError as error: sys.stdout.write(error.code + ' ' + error.hint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import importlib.metadata\n" + code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("runtime.missing pip install onnxruntime")


def test_all_of_it_holds_for_the_model_that_ships(windows: NDArray[np.float32]) -> None:
    if "small" not in shipped():
        pytest.skip("no model ships with this checkout")
    with Encoder("small", device="cpu", threads=2) as ours, Encoder("small", device="cpu", threads=1, batch=8) as other:
        assert (ours.contract.window, ours.contract.bands) == (64, tuple("ugriz"))
        expected = ours.embed(windows[:40])
        order = np.random.default_rng(3).permutation(40)
        np.testing.assert_array_equal(other.embed(windows[:40][order]), expected[order])
        np.testing.assert_array_equal(ours.embed(windows[:1]), expected[:1])
        np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=1e-5)
