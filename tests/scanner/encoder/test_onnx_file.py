"""A contract is read from the file alone: as ONNX Runtime reads it, and whatever the file is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from catalogs.errors import ScannerError
from scanner.encoder import contract, session
from scanner.encoder.contract import CONTRACT_KEY, Contract, ModelFile, shipped
from scanner.encoder.onnx_file import read_metadata
from tests.support import tiny_encoder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder.write(tmp_path_factory.mktemp("model") / "encoder.onnx", tiny_encoder.contract())


def refusal(path: Path) -> ScannerError:
    with pytest.raises(ScannerError) as caught:
        contract.read(path)
    return caught.value


def test_says_what_the_session_says(model: Path, tmp_path: Path) -> None:
    loaded = onnx.load(model)
    helper.set_model_props(loaded, {"first": "", "Ünïcode": "Ωmega", "long": "x" * 100_000, CONTRACT_KEY: "{}"})
    loaded.doc_string = "between"
    onnx.save(loaded, tmp_path / "many.onnx")
    for path in (model, tmp_path / "many.onnx"):
        onnx_session, _ = session.open_session(path, "cpu", optimise=False)
        assert read_metadata(path.read_bytes()) == onnx_session.get_modelmeta().custom_metadata_map


def test_reads_the_model_that_ships_without_onnx_and_without_onnx_runtime() -> None:
    if "small" not in shipped():
        pytest.skip("no model ships with this checkout")
    code = (
        "import sys\nfrom scanner.encoder.contract import ModelFile\n"
        "print(ModelFile.find('small').contract.to_json())\n"
        "assert not {'onnx', 'onnxruntime', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Contract.from_json(done.stdout) == ModelFile.find("small").contract
    assert ModelFile.find("small").precision == "fp32"


@pytest.mark.parametrize(
    "garbage", [b"", b"not a model", b"\x80" * 64, b"\x0a\xff\xff\xff\xff\x7f", b"\x08\x01" * 20_000]
)
def test_what_is_no_model_is_refused(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "encoder.onnx").write_bytes(garbage)
    assert refusal(tmp_path / "encoder.onnx").code == "model.unreadable"


def test_a_file_that_is_cut_or_mangled_is_refused_or_read_but_never_a_surprise(model: Path, tmp_path: Path) -> None:
    whole, path = model.read_bytes(), tmp_path / "encoder.onnx"
    random = np.random.default_rng(5)
    codes = {"read"}
    for turn in range(300):
        mangled = bytearray(whole[: random.integers(len(whole))] if turn % 2 else whole)
        # Most bytes are weights, which are not looked at: those at both ends are.
        for place in random.integers(-2000, 400, 8):
            mangled[place % len(mangled) : place % len(mangled) + 1] = random.bytes(1)
        path.write_bytes(mangled)
        try:
            contract.read(path)
        except ScannerError as error:
            codes.add(error.code)
    assert codes <= {"read", "model.unreadable", "model.no_contract", "model.bad_contract", "model.version"}
    assert len(codes) > 2


def test_a_huge_entry_is_not_read_and_one_of_somebody_else_does_no_harm(model: Path, tmp_path: Path) -> None:
    loaded, text = onnx.load(model), read_metadata(model.read_bytes())[CONTRACT_KEY]
    helper.set_model_props(loaded, {CONTRACT_KEY: "x" * (2 << 20)})
    onnx.save(loaded, tmp_path / "huge.onnx")
    assert refusal(tmp_path / "huge.onnx").code == "model.no_contract"
    helper.set_model_props(loaded, {"notes": "x" * (2 << 20), CONTRACT_KEY: text})
    onnx.save(loaded, tmp_path / "notes.onnx")
    assert contract.read(tmp_path / "notes.onnx") == tiny_encoder.contract()


@pytest.mark.parametrize("name", ["flux_unit", "mask_ratio", "pixel_scale", "licence"])
def test_what_a_contract_must_say_is_not_guessed(name: str) -> None:
    values = tiny_encoder.contract().to_dict()
    del values[name]
    with pytest.raises(ScannerError, match=f"{name} is missing") as caught:
        Contract.from_json(json.dumps(values))
    assert caught.value.code == "model.bad_contract"


def test_numbers_stay_as_the_file_spells_them() -> None:
    """They are hashed into the digest of a run: with 1.0 for 1, finished tiles would be scanned again."""
    text = json.dumps(tiny_encoder.contract().to_dict() | {"pixel_scale": 1, "mask_ratio": 0}, sort_keys=True)
    assert Contract.from_json(text).to_json() == text


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"version": 3}, "model.version", "version 3"),
        ({"bands": "ugriz"}, "model.bad_contract", "bands must be a list"),
        ({"window": "64"}, "model.bad_contract", "window must be a whole number"),
        ({"stretch": None}, "model.bad_contract", "stretch"),
        ({"added_later": 1}, None, ""),
    ],
)
def test_keys_are_checked_one_by_one(tmp_path: Path, change: dict[str, object], code: str | None, said: str) -> None:
    text = json.dumps(tiny_encoder.contract().to_dict() | change)
    path = tiny_encoder.write(tmp_path / "encoder.onnx", tiny_encoder.contract(), metadata=text)
    if code is None:
        assert contract.read(path) == tiny_encoder.contract()
    else:
        assert refusal(path).code == code
        assert said in refusal(path).message


def test_a_contract_that_is_no_table_is_refused(tmp_path: Path) -> None:
    for text in ("[]", "3", "nonsense", '{"version": 1}'):
        path = tiny_encoder.write(tmp_path / "encoder.onnx", tiny_encoder.contract(), metadata=text)
        assert refusal(path).code == "model.bad_contract"
