"""`scan-tiles --runtime`: part of what a catalogue is, recorded with what was measured, kept by questions."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

import catalogs
from catalogs.errors import ScannerError
from scanner.encoder import openvino_runtime
from scanner.queries.catalogue_encoder import open_encoder
from scanner.system import processor
from tests.end_to_end.conftest import Scanner
from tests.support import small_tiles, tiny_encoder

pytestmark = pytest.mark.skipif(not openvino_runtime.installed(), reason="OpenVINO is not installed")


def test_embeddings_of_two_runtimes_are_never_mixed(
    scanner: Scanner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_encoder.write(tmp_path / "model" / "encoder.onnx", tiny_encoder.contract())
    small_tiles.write(tmp_path / "tiles", "200.292", size=200, objects=12)
    (tmp_path / "list.txt").write_text("200.292\n")
    command = ("scan-tiles", "--tiles", tmp_path / "list.txt", "--root", tmp_path / "tiles", "--model", model)
    command = (*command, "--readers", "0", "--out", tmp_path / "out")
    precision = "bf16" if processor.bf16() else "fp32"

    done = scanner(*command, "--runtime", "openvino", "--precision", precision, cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.err.count(f"{precision} by OpenVINO") == 1
    opened = catalogs.open(tmp_path / "out")
    assert (opened.info.runtime, opened.info.precision) == ("openvino", precision)
    facts = json.loads((tmp_path / "out" / "catalogue.json").read_text())
    assert facts["version"] == 2, "the first version would mix the rows of two runtimes"
    (measured,) = (json.loads(path.read_text()) for path in (tmp_path / "out" / "runtimes").iterdir())
    assert measured["subject"]["processor"] == processor.describe()
    assert measured["agreement"]["centred_cosine"] > 0.995
    facts = json.loads(scanner("info", "--catalog", tmp_path / "out", "--format", "json", cwd=tmp_path).out)
    assert facts["runtime"] == "openvino"
    assert facts["precision"] == precision
    assert facts["measured"][0]["processor"] == processor.describe()

    # A catalogue is of one runtime and of one precision.
    for other in ((), ("--runtime", "openvino", "--precision", "fp32")[: 4 if precision == "bf16" else 0]):
        mixed = scanner(*command, *other, cwd=tmp_path)
        assert mixed.code == 1
        assert "[catalogue.other_model]" in mixed.err
        assert f"({precision} by openvino, sha256" in mixed.err
    again = scanner(*command, "--runtime", "openvino", "--precision", precision, cwd=tmp_path)
    assert "1 done before" in again.out

    # A question is embedded as the catalogue was; where that cannot be, by ONNX Runtime, which is said.
    with open_encoder(opened, str(model), "auto") as encoder:
        assert (encoder.runtime, encoder.precision) == ("openvino", precision)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2023.0")
    with open_encoder(opened, str(model), "auto") as encoder:
        assert (encoder.runtime, encoder.precision) == ("onnxruntime", "fp32")
    assert "cannot be used here (OpenVINO 2023.0 is installed" in caplog.text


def test_a_footer_of_another_runtime_is_not_of_its_catalogue(tmp_path: Path) -> None:
    from dataclasses import replace

    from catalogs.store.provenance import Info, Run
    from catalogs.store.tile_checks import check_receipt

    contract = tiny_encoder.contract().to_dict()
    run = Run("unions", ("r",), "m", "0" * 64, contract, {"precision": "fp32", "runtime": "openvino"})
    check_receipt(run.receipt({}), Info.of(run))
    with pytest.raises(ValueError, match="computed by openvino in fp32"):
        check_receipt(run.receipt({}), replace(Info.of(run), runtime="onnxruntime"))
    catalogs.create(tmp_path / "out", run)
    with pytest.raises(ScannerError, match="by openvino"):
        catalogs.create(tmp_path / "out", replace(run, settings={"precision": "fp32"}))
