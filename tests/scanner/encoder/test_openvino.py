"""OpenVINO beside ONNX Runtime: the same numbers, a vector of its own pixels alone, refused where it is not right."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from catalogs.errors import ScannerError
from scanner import api
from scanner.encoder import agreement, certificate, made_cutouts, openvino_runtime, session
from scanner.encoder.agreement import ScoreAgreement, Threshold
from scanner.encoder.contract import of_precision
from scanner.encoder.encoder import Encoder
from scanner.encoder.openvino_runtime import OpenVinoModel
from scanner.system import processor
from tests.scanner.encoder.test_precision import write
from tests.support import small_tiles, tiny_encoder

ROOT = Path(__file__).parents[3]
needs_openvino = pytest.mark.skipif(not openvino_runtime.installed(), reason="OpenVINO is not installed")
needs_bf16 = pytest.mark.skipif(not processor.bf16(), reason="this processor has no bf16")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With scores, and wide enough for the blocked matrix kernels of a real encoder."""
    path = tmp_path_factory.mktemp("model") / "encoder.onnx"
    like = tiny_encoder.contract(window=64, dim=96, scores=tiny_encoder.SCORES)
    return tiny_encoder.write(path, like, width=192)


def refused(path: Path, **asked: Any) -> ScannerError:
    with pytest.raises(ScannerError) as caught:
        Encoder(path, runtime="openvino", **asked)
    return caught.value


@needs_openvino
@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=needs_bf16)])
def test_embeddings_and_scores_agree_and_depend_on_their_own_pixels_only(
    model: Path, tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder(model, threads=2, precision=precision, runtime="openvino")
    assert encoder.certificate is not None
    measured = encoder.certificate.agreement
    assert measured.windows == 512
    assert measured.scores is not None
    flux = made_cutouts.make(encoder.contract, 40, seed=3)
    flux[7] = np.nan
    vectors, scores = encoder.encode(flux)
    exact = Encoder(model, "cpu", threads=2).encode(flux)
    tolerance = 1e-5 if precision == "fp32" else 0.05
    np.testing.assert_allclose(vectors, exact.vectors, atol=tolerance)
    np.testing.assert_allclose(scores, exact.scores, atol=20 * tolerance)
    # To the bit: alone, in another order, at each place of a batch, beside nothing but bright stars or gaps.
    np.testing.assert_array_equal(encoder.embed(flux[:1]), vectors[:1])
    order = np.random.default_rng(1).permutation(len(flux))
    moved = encoder.encode(flux[order])
    np.testing.assert_array_equal(moved.vectors, vectors[order])
    np.testing.assert_array_equal(moved.scores, scores[order])
    for place in range(16):
        batch = flux[16:32] * np.float32(1e5)
        batch[place - 1] = np.nan
        batch[place] = flux[0]
        np.testing.assert_array_equal(encoder.encode_batch(batch).vectors[place], vectors[0])
    # Another number of streams is another layout, not another vector.
    encoder.certificate.write(tmp_path)
    monkeypatch.setattr(made_cutouts, "make", None)
    again = Encoder(model, threads=1, precision=precision, runtime="openvino", certificates=tmp_path)
    np.testing.assert_array_equal(again.embed(flux), vectors)
    assert again.certificate == encoder.certificate, "what was measured before is not measured again"
    assert list(certificate.find_all(tmp_path)) == [again.certificate]


@needs_openvino
def test_a_runtime_that_changes_too_much_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    never = Threshold(1.0, 1.01, ScoreAgreement(0, 0, 1))
    monkeypatch.setattr(agreement, "THRESHOLDS", {"fp32": never})
    monkeypatch.setattr(certificate, "THRESHOLDS", {"fp32": never})
    error = refused(model)
    assert error.code == "runtime.disagrees"
    assert "OpenVINO" in error.message
    assert processor.describe() in error.message


@needs_openvino
def test_a_damaged_certificate_is_measured_again(model: Path, tmp_path: Path) -> None:
    first = Encoder(model, runtime="openvino").certificate
    assert first is not None
    (tmp_path / first.subject.name).write_text("{")
    assert certificate.find(tmp_path, first.subject) is None


def test_what_does_not_go_together_is_refused_with_what_to_say(tmp_path: Path) -> None:
    model = write(tmp_path, "fp32")
    small = write(tmp_path, "int8")
    half = write(tmp_path, "fp16")
    with pytest.raises(ScannerError) as caught:
        Encoder(model, precision="bf16")
    assert caught.value.code == "device.precision"
    assert "--runtime openvino" in caught.value.hint
    assert refused(model, precision="fp16").code == refused(half).code == "device.precision"
    assert refused(model, device="cuda:1").code == "device.unavailable"
    error = refused(small, precision="bf16")
    assert error.code == "model.other_precision"
    assert "in fp32, from which bf16 is computed" in error.message
    with pytest.raises(ScannerError) as caught:
        Encoder(model, runtime="tflite")
    assert caught.value.code == "runtime.unknown"


def test_a_missing_or_old_package_and_a_processor_without_bf16_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write(tmp_path, "fp32")
    cores = "model name\t: Intel Xeon\ncpu family\t: 6\nmodel\t\t: 79\nflags\t\t: fpu avx2 fma\n\nmodel name\t: other\n"
    (tmp_path / "cpuinfo").write_text(cores)
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    assert processor.describe() == "Intel Xeon, family 6 model 79, no bf16"
    if openvino_runtime.installed():
        error = refused(model, precision="bf16")
        assert error.code == "device.precision"
        assert "Intel Xeon, family 6 model 79" in error.message
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2026.0.0")
    assert refused(model).code == "runtime.old"

    def none(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", none)
    error = refused(model)
    assert error.code == "runtime.missing"
    assert "unions-scanner[openvino]" in error.hint


@pytest.mark.parametrize("left", [None, types.ModuleType("openvino")], ids=["no import", "empty package"])
def test_a_package_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: types.ModuleType | None
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2026.4.1")
    monkeypatch.setitem(sys.modules, "openvino", left)
    error = refused(write(tmp_path, "fp32"))
    assert error.code == "runtime.broken"
    assert "OpenVINO 2026.4.1 is installed but cannot be imported" in error.message
    assert "--force-reinstall" in error.hint


@pytest.mark.parametrize(
    ("instructions", "installed", "precision", "times"),
    [
        ("amx_bf16", "", "fp32", 1),
        ("avx512_bf16", "", "fp32", 1),
        ("avx2", "", "fp32", 0),
        ("amx_bf16", "2026.4.1", "fp32", 0),
        ("amx_bf16", "", "int8", 0),
    ],
)
def test_a_scan_hints_once_at_a_faster_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    instructions: str, installed: str, precision: str, times: int,
) -> None:  # fmt: skip
    """Where it is a pip install away, and only for a scan in the default precision."""
    model = write(tmp_path, "fp32")
    write(tmp_path, "int8")
    small_tiles.write(tmp_path / "tiles", "200.292", size=100, objects=3)
    small_tiles.write(tmp_path / "tiles", "201.292", size=100, objects=3)
    (tmp_path / "cpuinfo").write_text(f"model name\t: Some\nflags\t\t: fpu {instructions}\n")
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(openvino_runtime, "installed", lambda: installed)
    caplog.set_level("INFO")
    options: dict[str, Any] = {
        "device": "cpu",
        "precision": precision,
        "readers": 0,
        "root": tmp_path / "tiles",
        "progress": False,
    }
    report = api.scan_tiles(["200.292", "201.292"], tmp_path / "out", model=model, **options)
    assert [tile.status for tile in report.tiles] == ["done", "done"]
    assert caplog.text.count("pip install 'unions-scanner[openvino]'") == times


@needs_openvino
def test_the_int8_file_is_read_too(tmp_path: Path) -> None:
    model = write(tmp_path, "fp32")
    write(tmp_path, "int8")
    encoder = Encoder(model, precision="int8", runtime="openvino")
    assert encoder.path == of_precision(model, "int8")
    assert encoder.certificate is not None
    assert encoder.certificate.subject.precision == encoder.precision == "int8"


@needs_openvino
def test_nothing_is_reported_and_nothing_written_outside(tmp_path: Path) -> None:
    """OpenVINO reports its import through a package that it depends on; here that package would tell on it."""
    (tmp_path / "openvino_telemetry").mkdir()
    (tmp_path / "openvino_telemetry" / "__init__.py").write_text("raise SystemExit('telemetry was imported')")
    model = tiny_encoder.write(tmp_path / "model" / "encoder.onnx", tiny_encoder.contract())
    folders = {name: str(tmp_path / name) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    for folder in folders.values():
        Path(folder).mkdir()
    code = f"from scanner.encoder.encoder import Encoder; Encoder({str(model)!r}, runtime='openvino')"
    path = {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **folders, **path}, check=True)
    assert not [path for folder in folders.values() for path in Path(folder).rglob("*")]


DROPPED_ELSEWHERE = """
import os, signal, sys, threading
from pathlib import Path
from scanner.encoder.encoder import Encoder

encoders = [Encoder(Path(sys.argv[1]), runtime="openvino")]
thread = threading.Thread(target=encoders.clear)
thread.start()
thread.join()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
os.kill(os.getpid(), signal.SIGTERM)
"""


@needs_openvino
def test_signals_still_arrive_after_another_thread_has_dropped_an_encoder(tmp_path: Path) -> None:
    """OpenVINO's plugin leaves the thread that loaded it a stack for signals that is no longer there."""
    model = tiny_encoder.write(tmp_path / "encoder.onnx", tiny_encoder.contract())
    done = subprocess.run([sys.executable, "-c", DROPPED_ELSEWHERE, str(model)], cwd=ROOT, check=False)
    assert done.returncode == 7


@needs_openvino
@pytest.mark.parametrize("opset", [13, 17, 18])
@pytest.mark.parametrize("operator", ["ReduceL1", "ReduceLogSum", "ReduceLogSumExp"])
def test_reductions_leave_the_rows_of_a_batch_apart(tmp_path: Path, operator: str, opset: int) -> None:
    """Their axes are an attribute until operator set 17, which OpenVINO itself ignores: it adds up the batch."""
    path = reduction(tmp_path / "model.onnx", operator, opset, [2, 3])
    flux = np.random.default_rng(0).uniform(1, 100, (4, 1, 8, 8)).astype(np.float32)
    exact = session.load().InferenceSession(str(path)).run(None, {"flux": flux})[0]
    assert exact.shape == (4, 1)
    binding = OpenVinoModel(path, "fp32", 1, 4).binding((1, 8, 8), 1, 0)
    np.testing.assert_allclose(binding.run(flux).vectors, exact, rtol=1e-5)


@needs_openvino
def test_a_reduction_of_the_whole_batch_is_refused(tmp_path: Path) -> None:
    path = reduction(tmp_path / "model.onnx", "ReduceLogSumExp", 17, None)
    with pytest.raises(ScannerError) as caught:
        OpenVinoModel(path, "fp32", 1, 4)
    assert caught.value.code == "model.unreadable"


def reduction(path: Path, operator: str, opset: int, axes: list[int] | None) -> Path:
    """A graph that reduces windows [N, 1, 8, 8] over some axes."""
    kept: dict[str, Any] = {"keepdims": 0} | ({"axes": axes} if axes and opset < 18 else {})
    weights = [numpy_helper.from_array(np.array(axes), "axes")] if opset >= 18 else []
    node = helper.make_node(operator, ["flux", *(weight.name for weight in weights)], ["embedding"], **kept)
    ports = (("flux", ["N", 1, 8, 8]), ("embedding", ["N", 1] if axes else []))
    flux, embedding = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ports)
    graph = helper.make_graph([node], "reduction", [flux], [embedding], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


@needs_openvino
@pytest.mark.parametrize("precision", ["fp32", "int8", pytest.param("bf16", marks=needs_bf16)])
def test_the_shipped_encoder_is_served_with_its_score(precision: str) -> None:
    """Every precision passes its bounds, those of the score among them; a score depends on its own pixels only."""
    encoder = Encoder("small", precision=precision, runtime="openvino")
    assert encoder.certificate is not None
    assert encoder.certificate.agreement.scores is not None
    flux = made_cutouts.make(encoder.contract, 20, seed=3)
    scores = encoder.encode(flux).scores
    assert np.ptp(scores) > 1
    np.testing.assert_array_equal(encoder.encode(flux[::-1]).scores, scores[::-1])


@needs_openvino
@needs_bf16
def test_made_cutouts_are_as_hard_as_those_of_a_real_tile(real_windows: NDArray[np.float32]) -> None:
    """The shipped encoder in bf16 on 256 cutouts of each kind: what a certificate says holds for real pixels."""
    encoder = Encoder("small", precision="bf16", runtime="openvino")
    exact, ours = Encoder("small", "cpu").encode(real_windows), encoder.encode(real_windows)
    assert encoder.certificate is not None
    real, made = agreement.agree(exact.vectors, ours.vectors), encoder.certificate.agreement
    assert (1 - real.centred_cosine) / (1 - made.centred_cosine) == pytest.approx(1, abs=0.5)
    assert real.neighbour_overlap == pytest.approx(made.neighbour_overlap, abs=0.02)
    scores = agreement.agree_scores(exact.scores, ours.scores)
    assert agreement.THRESHOLDS["bf16"].passed_by(replace(real, scores=scores)), scores
    assert made.scores is not None
    assert scores.score_rms == pytest.approx(made.scores.score_rms, rel=2)


@pytest.fixture(scope="module")
def real_windows(real_images: Any) -> NDArray[np.float32]:
    from scanner.encoder import contract
    from scanner.sources import sources
    from scanner.windows.frame import WindowFrame
    from scanner.windows.windows import Windows

    frame = WindowFrame(*contract.read(contract.resolve("small")).frame)
    windows = Windows(real_images, sources.detect(real_images), frame)
    return windows.gather(0, min(256, len(windows)))
