"""A model file holds all that it computes with, and is as it was exported; a damaged one is refused with a code."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from catalogs.errors import ScannerError
from export.to_onnx import add_contract
from scanner.encoder import contract, onnx_file
from scanner.encoder.contract import CONTRACT_KEY, MODELS, Contract, ModelFile, of_precision
from scanner.encoder.encoder import Encoder
from tests.support import tiny_encoder

CONTRACT = tiny_encoder.contract()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder.write(tmp_path_factory.mktemp("model") / "encoder.onnx", CONTRACT)


def refusal(path: str | Path, precision: str | None = None) -> ScannerError:
    with pytest.raises(ScannerError) as caught:
        ModelFile.find(path, precision)
    assert caught.value.hint
    return caught.value


def sealed(tiny: Path, path: Path) -> Path:
    """The model as ``python -m export`` writes it."""
    path.write_bytes(add_contract(onnx.load(tiny), CONTRACT).SerializeToString(deterministic=True))
    return path


# --- all in one file


def keep_outside(tensor: TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def outside() -> TensorProto:
    tensor = numpy_helper.from_array(np.ones(4, np.float32), "outside")
    keep_outside(tensor)
    return tensor


def in_initializer(model: onnx.ModelProto) -> None:
    keep_outside(model.graph.initializer[0])


def in_constant(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["x"], value=outside()))


def in_list_of_tensors(model: onnx.ModelProto) -> None:
    node = helper.make_node("Custom", [], ["x"])
    node.attribute.add(name="many", type=onnx.AttributeProto.TENSORS).tensors.append(outside())
    model.graph.node.append(node)


def in_subgraph(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Identity", ["outside"], ["y"])], "inner", [], [], [outside()])
    outer = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=inner)], "outer", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=outer, else_branch=outer))


def in_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["y"], value=outside())
    opset = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "Own", ["x"], ["y"], [node], opset))


def in_sparse_tensor(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add(values=outside(), dims=[4])


def in_training(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.initializer.append(outside())


def by_location_alone(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def by_entry_alone(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")


PLACES: list[Callable[[onnx.ModelProto], None]] = [
    in_initializer, in_constant, in_list_of_tensors, in_subgraph, in_function, in_sparse_tensor, in_training,
    by_location_alone, by_entry_alone,
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_weights_in_another_file_are_refused(
    tiny: Path, tmp_path: Path, place: Callable[[onnx.ModelProto], None]
) -> None:
    model = onnx.load(tiny)
    assert not onnx_file.has_external_data(model.SerializeToString())
    place(model)
    path = tmp_path / "encoder.onnx"
    path.write_bytes(model.SerializeToString())
    (tmp_path / "weights.bin").write_bytes(bytes(1 << 20))
    assert refusal(path).code == "model.external_data"


def test_all_messages_that_lead_to_tensors_are_looked_into() -> None:
    """The table of ``onnx_file`` against the schema of the ``onnx`` package."""
    kinds = {"ModelProto": onnx.ModelProto.DESCRIPTOR}
    while new := {
        field.message_type.name: field.message_type
        for kind in kinds.values()
        for field in kind.fields
        if field.message_type is not None and field.message_type.name not in kinds
    }:
        kinds |= new
    leading = {onnx_file.TENSOR}
    while (
        more := {
            name
            for name, kind in kinds.items()
            if any(field.message_type is not None and field.message_type.name in leading for field in kind.fields)
        }
        - leading
    ):
        leading |= more
    assert {
        name: {
            field.number: field.message_type.name
            for field in kinds[name].fields
            if field.message_type is not None and field.message_type.name in leading
        }
        for name in leading - {onnx_file.TENSOR}
    } == onnx_file.INNER


# --- as it was exported


def test_an_exported_file_is_taken(tiny: Path, tmp_path: Path) -> None:
    path = sealed(tiny, tmp_path / "encoder.onnx")
    assert ModelFile.find(path).contract == CONTRACT
    metadata = onnx_file.read_metadata(path.read_bytes())
    assert metadata[onnx_file.SEAL_KEY] == onnx_file.seal(path.read_bytes())
    onnx.checker.check_model(onnx.load(path))


def test_any_changed_bit_of_an_exported_file_is_noticed(tiny: Path, tmp_path: Path) -> None:
    path = sealed(tiny, tmp_path / "encoder.onnx")
    whole = path.read_bytes()
    random = np.random.default_rng(3)
    places = [*random.integers(0, len(whole), 150), *range(len(whole) - 700, len(whole), 7)]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        try:
            ModelFile.find(path)
        except ScannerError as error:
            assert error.code.startswith("model.")  # noqa: PT017
        else:
            # What is left are bits of the key of the digest: it is a model without one then.
            assert onnx_file.SEAL_KEY not in onnx_file.read_metadata(bytes(changed))
            start = whole.index(onnx_file.SEAL_KEY.encode())
            assert start - 8 <= place < start + len(onnx_file.SEAL_KEY)


def test_other_weights_under_the_same_contract_are_noticed(tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(sealed(tiny, tmp_path / "encoder.onnx"))
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "head")
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * 1.01, "head"))
    onnx.save(model, tmp_path / "encoder.onnx")
    assert refusal(tmp_path / "encoder.onnx").code == "model.damaged"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_shipped_model_is_held_against_its_published_digest(tmp_path: Path, precision: str) -> None:
    """Wherever its file is copied to, and whatever it is called there."""
    source = of_precision(MODELS / "small" / "encoder.onnx", precision)
    assert ModelFile.find("small", precision).sha256 == ModelFile.find(source).sha256
    path = tmp_path / "mine.onnx"
    shutil.copy(source, path)
    assert ModelFile.find(path).precision == precision
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    for place in random.integers(1000, len(whole) - 3000, 5):
        changed = bytearray(whole)
        changed[place] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        assert refusal(path).code in ("model.damaged", "model.unreadable", "model.external_data")
    pixels = whole.replace(b'"pixel_scale": 0.18577', b'"pixel_scale": 0.18477')
    assert pixels != whole
    path.write_bytes(pixels)
    assert refusal(path).code == "model.damaged"


def test_a_release_lists_the_digests_of_its_files(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    shutil.copy(tiny, path)
    digest = ModelFile.find(path).sha256
    (tmp_path / "SHA256SUMS").write_text(f"{'1' * 64}  README.md\n{digest}  encoder.onnx\n\nnonsense\n")
    assert ModelFile.find(path).sha256 == digest
    (tmp_path / "SHA256SUMS").write_text(f"{'1' * 64} *encoder.onnx\n")
    assert refusal(path).code == "model.damaged"
    (tmp_path / "SHA256SUMS").write_bytes(b"\xff\xfe")
    assert ModelFile.find(path).sha256 == digest


def test_another_export_of_shipped_weights_is_taken(tiny: Path, tmp_path: Path) -> None:
    """With other options, say: its own digest is what it is held against, not that of the shipped file."""
    weights = contract.read(MODELS / "small" / "encoder.onnx").weights_sha256
    other = replace(CONTRACT, weights_sha256=weights)
    path = tmp_path / "encoder.onnx"
    tiny_encoder.write(path, other)
    assert refusal(path).code == "model.damaged"
    path.write_bytes(add_contract(onnx.load(tiny), other).SerializeToString(deterministic=True))
    assert ModelFile.find(path).contract == other


# --- damage, and what is not a model


def written(tmp_path: Path, text: str) -> Path:
    return tiny_encoder.write(tmp_path / "encoder.onnx", CONTRACT, metadata=text)


SCORES = tiny_encoder.SCORES.to_dict()
VALUES = {
    "bands": [[], ["u", "u"], "ugriz", None, [1, 2], ["u\x1b[2J"]],
    "pixel_scale": [0, -1, "x", None, 1e308, 1e-308, True, [], float("inf"), float("nan")],
    "window": [0, 7, "64", None, 64.0, True],
    "embedding_dim": [0, -1, "192", 192.0, None],
    "flux_unit": ["Jy", None],
    "mask_ratio": [0.75, "0", None, False, float("nan")],
    "precision": ["int8", "fp64", None, 5],
    "fidelity": [{}, {"centred_cosine": "x"}, 5],
    "weights_sha256": [5, None, "", "0" * 63, "g" * 64, "0" * 64 + "\n"],
    "stretch": [None, 5, [], {"scale": float("nan")}, {"scale": float("inf")}, {"\ud800": 1}],
    "pooling": [5, "a\nb"],
    "training_run": [None, "\x00"],
    "licence": [5, None, "\udfff", "x\x07"],
    "version": [True, 1.0, 2],
    "scores": [SCORES, 5, []],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in VALUES.items() for value in values])
def test_a_value_that_a_contract_cannot_have(key: str, value: Any) -> None:
    text = json.dumps(CONTRACT.to_dict() | {key: value})
    with pytest.raises(ScannerError) as caught:
        Contract.from_json(text, "encoder.onnx")
    assert caught.value.code == "model.bad_contract"
    assert "encoder.onnx" in caught.value.message
    caught.value.report().encode()


@pytest.mark.parametrize("version", [0, 3, 99, "1", None, [], 1e400])
def test_another_version_is_refused(version: Any) -> None:
    with pytest.raises(ScannerError) as caught:
        Contract.from_json(json.dumps(CONTRACT.to_dict() | {"version": version}))
    assert caught.value.code == "model.version"


@pytest.mark.parametrize("text", ["[" * 200_000, '{"version":' * 50_000, "1" * 10_000, '{"version": 1}', "{", "null"])
def test_a_contract_that_is_not_a_table(tmp_path: Path, text: str) -> None:
    assert refusal(written(tmp_path, text)).code == "model.bad_contract"


def test_metadata_that_is_not_utf_8(tiny: Path, tmp_path: Path) -> None:
    whole = tiny.read_bytes()
    path = tmp_path / "encoder.onnx"
    path.write_bytes(whole.replace(b"made for a test", b"made for \xff test"))
    assert refusal(path).code == "model.unreadable"
    path.write_bytes(whole.replace(CONTRACT_KEY.encode(), b"scanner.c\xff\xfe\xfdract"))
    assert refusal(path).code == "model.unreadable"


@pytest.mark.parametrize("part", [0.0, 0.3, 0.999])
def test_a_file_that_is_cut_off(tiny: Path, tmp_path: Path, part: float) -> None:
    whole = tiny.read_bytes()
    (tmp_path / "encoder.onnx").write_bytes(whole[: int(part * len(whole))])
    assert refusal(tmp_path / "encoder.onnx").code == "model.unreadable"


@pytest.mark.skipif(sys.platform == "win32", reason="has neither FIFOs nor device files")
def test_what_is_not_a_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.onnx")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "link.onnx").symlink_to("/dev/zero")
    (tmp_path / "nowhere.onnx").symlink_to("nothing")
    for path in (*tmp_path.iterdir(), "/dev/zero", "/dev/stdin"):
        assert refusal(path).code == "model.missing"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../small", "small\n", "sm\0all", "x" * 5000, "~/encoder.onnx", "\udcff", "*",
     "http://127.0.0.1:1/encoder.onnx", "file:///etc/passwd"],
)  # fmt: skip
def test_a_name_that_is_neither_a_file_nor_a_shipped_model(name: str) -> None:
    for precision in (None, "int8"):
        error = refusal(name, precision)
        assert error.code == "model.missing"
        error.report().encode()


def test_a_file_larger_than_a_model_can_be_is_not_read(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "_MOST_BYTES", tiny.stat().st_size - 1)
    assert refusal(tiny).code == "model.unreadable"


def test_a_model_of_endless_fields_is_refused_in_bounded_time(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "_MOST_FIELDS", 100)
    assert refusal(tiny).code == "model.unreadable"


def test_a_contract_of_another_graph_is_refused(tmp_path: Path) -> None:
    for change in ({"window": 10**9}, {"embedding_dim": 10**12}, {"embedding_dim": 47}, {"bands": ("u",)}):
        text = replace(CONTRACT, **change).to_json()  # type: ignore[arg-type]
        with pytest.raises(ScannerError) as caught:
            Encoder(written(tmp_path, text), device="cpu")
        assert caught.value.code == "model.bad_contract"


def test_a_contract_alone_is_read_whatever_the_weights(tiny: Path, tmp_path: Path) -> None:
    """Figures and evaluations want no more."""
    model = onnx.load(tiny)
    in_initializer(model)
    (tmp_path / "encoder.onnx").write_bytes(model.SerializeToString())
    assert contract.read(tmp_path / "encoder.onnx") == CONTRACT
