"""Number formats: found beside the model, named by the contract, told what they cost, never mixed in a catalogue."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from catalogs.errors import ScannerError
from scanner.encoder.contract import Contract, of_precision, resolve
from scanner.encoder.encoder import Encoder
from tests.support import tiny_encoder

FIDELITY = {"centred_cosine": 0.9987, "least_centred_cosine": 0.9962, "neighbour_overlap": 0.979, "windows": 512}


def write(folder: Path, precision: str, weights: str = "0" * 64, seed: int = 1) -> Path:
    """A file that says it is in a format; what the kernels make of it is tested where such files are made."""
    fidelity = None if precision == "fp32" else FIDELITY
    said = replace(tiny_encoder.contract(), precision=precision, fidelity=fidelity, weights_sha256=weights)
    return tiny_encoder.write(of_precision(folder / "encoder.onnx", precision), said, seed=seed)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model in fp32 and, with rounded weights so to speak, in int8 and fp16."""
    for number, precision in enumerate(("fp32", "int8", "fp16"), 1):
        write(tmp_path / "model", precision, seed=number)
    return tmp_path / "model" / "encoder.onnx"


def refused(path: Path, precision: str | None, device: str = "cpu") -> ScannerError:
    with pytest.raises(ScannerError) as caught:
        Encoder(path, device=device, precision=precision)
    return caught.value


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_the_file_beside_the_model_is_taken(model: Path, precision: str) -> None:
    encoder = Encoder(model, device="cpu", precision=precision)
    assert encoder.path.name == f"encoder_{precision}.onnx"
    assert encoder.precision == encoder.contract.precision == precision
    assert Encoder(encoder.path, device="cpu", precision=precision).sha256 == encoder.sha256
    assert Encoder(model, device="cpu").precision == Encoder(model, device="cpu", precision="fp32").precision == "fp32"


def test_a_format_that_is_not_there_is_refused_with_what_makes_it(tmp_path: Path) -> None:
    error = refused(write(tmp_path, "fp32"), "int8")
    assert error.code == "model.no_precision"
    assert "encoder_int8.onnx" in error.message
    assert "python -m export" in error.hint


def test_a_file_is_never_taken_for_another_format(model: Path) -> None:
    small = of_precision(model, "int8")
    assert refused(small, "fp32").code == "model.other_precision"
    assert "--precision int8" in refused(small, "fp32").hint
    shutil.copy(model, small)  # somebody's copy under the wrong name
    assert refused(model, "int8").code == "model.other_precision"


def test_a_file_of_an_earlier_model_is_not_taken_for_this_ones(model: Path) -> None:
    write(model.parent, "int8", weights="1" * 64)
    assert refused(model, "int8").code == "model.other_weights"


def test_int8_is_for_cpus_and_auto_knows(model: Path) -> None:
    assert Encoder(model, device="auto", precision="int8").provider == "CPUExecutionProvider"
    assert Encoder(of_precision(model, "int8"), device="auto").provider == "CPUExecutionProvider"


def test_a_contract_made_before_there_were_formats_is_fp32() -> None:
    said = tiny_encoder.contract().to_dict()
    del said["precision"]
    assert Contract.from_json(json.dumps(said)).precision == "fp32"


@pytest.mark.parametrize(
    "change", [{"precision": "int4"}, {"precision": "int8"}, {"precision": "int8", "fidelity": {"windows": 3}}]
)
def test_a_format_that_is_unknown_or_hides_its_cost_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ScannerError) as caught:
        Contract.from_json(json.dumps(tiny_encoder.contract().to_dict() | change))
    assert caught.value.code == "model.bad_contract"


def test_a_model_by_path_resolves_as_before(model: Path) -> None:
    assert resolve(model) == resolve(model, "fp32") == model
    with pytest.raises(ScannerError) as caught:
        resolve("nowhere", "int8")
    assert caught.value.code == "model.missing"
