"""The file: right or not there, with its contract and nothing else in it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from astropy.io import fits
from click.testing import CliRunner

from catalogs.errors import ScannerError
from export import to_onnx, verify
from export.__main__ import export_command
from export.card import render
from export.to_onnx import Exported, export
from scanner.encoder.contract import CONTRACT_KEY, Contract, ModelFile
from scanner.encoder.onnx_file import SEAL_KEY
from training.loop.checkpoint import Checkpoint, load
from training.model.embedding import EmbeddingGraph


def test_the_metadata_are_the_contract_and_a_digest_and_the_scanner_reads_them(
    exported: Exported, checkpoint: Checkpoint
) -> None:
    properties = onnx.load(exported.path).metadata_props
    assert [entry.key for entry in properties] == [CONTRACT_KEY, SEAL_KEY]
    assert ModelFile.find(exported.path).contract == Contract.from_json(exported.contract.to_json())
    contract = Contract.from_json(properties[0].value)
    assert contract == Contract.from_json(exported.contract.to_json())
    assert contract.bands == ("g", "r", "i")
    assert (contract.window, contract.embedding_dim, contract.mask_ratio) == (32, 32, 0)
    assert contract.weights_sha256 == checkpoint.weights_sha256
    assert contract.stretch["softening"] == checkpoint.model().pixels.softening.flatten().tolist()


def test_shapes_are_fixed_but_for_the_batch(exported: Exported) -> None:
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    (flux,), (embedding,) = session.get_inputs(), session.get_outputs()
    assert (flux.name, flux.type, flux.shape) == ("flux", "tensor(float)", ["N", 3, 32, 32])
    assert (embedding.name, embedding.type, embedding.shape) == ("embedding", "tensor(float)", ["N", 32])


def test_no_source_path_nor_asinh_is_in_the_file(exported: Exported) -> None:
    text = exported.path.read_bytes()
    assert not re.search(rb"\.py\b|site-packages|/home/", text)
    assert str(Path(__file__).parents[2]).encode() not in text
    assert "Asinh" not in {node.op_type for node in onnx.load(exported.path).graph.node}


def test_exporting_again_gives_the_same_bytes(exported: Exported, run: Path, tmp_path: Path) -> None:
    again = export(run, tmp_path / "again.onnx")
    assert again.path.read_bytes() == exported.path.read_bytes()


def test_every_check_was_made(exported: Exported) -> None:
    worst = exported.verification.worst
    assert {"batch of 1", "batch of 2", "batch of 64", "band 2 missing", "random pixels missing"} <= worst.keys()
    assert max(worst.values()) <= verify.TOLERANCE


def test_a_file_that_disagrees_is_never_written(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = to_onnx.trace

    def slightly_wrong(graph: EmbeddingGraph, contract: Contract) -> onnx.ModelProto:
        graph.mean += 1e-3
        model = honest(graph, contract)
        graph.mean -= 1e-3
        return model

    monkeypatch.setattr(to_onnx, "trace", slightly_wrong)
    out = tmp_path / "encoder.onnx"
    out.write_text("the old one")
    with pytest.raises(ScannerError) as caught:
        export(run, out)
    assert caught.value.code == "export.disagrees"
    assert out.read_text() == "the old one"
    assert [path.name for path in tmp_path.iterdir()] == ["encoder.onnx"]


def test_agrees_with_torch_on_real_survey_pixels(exported: Exported, graph: EmbeddingGraph, shipped: Path) -> None:
    windows = []
    for cutout in sorted((shipped / "cutouts").glob("*.fits.fz")):
        with fits.open(cutout) as hdus:
            bands = [hdus[band].data * 10 ** (-0.4 * (30 - 31.4)) for band in "GRI"]
        windows += [[band[y : y + 32, x : x + 32] for band in bands] for y in (8, 32, 60) for x in (8, 32, 60)]
    flux = np.array(windows, np.float32)
    assert np.isfinite(flux).mean() > 0.9
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = graph(torch.from_numpy(flux)).numpy()
    np.testing.assert_allclose(session.run(None, {"flux": flux})[0], expected, atol=verify.TOLERANCE, rtol=0)


def test_the_scanner_embeds_with_it_without_torch(exported: Exported) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\nfrom scanner.encoder.encoder import Encoder\n"
        f"encoder = Encoder({str(exported.path)!r}, device='cpu')\n"
        "vectors = encoder.embed(np.full((3, 3, 32, 32), np.nan, np.float32))\n"
        "assert vectors.shape == (3, 32) and np.isfinite(vectors).all()\n"
    )
    pytest.importorskip("scanner.encoder.encoder")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_card_says_what_it_saw_and_names_the_file(exported: Exported) -> None:
    card = render(exported)
    for text in ("made up", "80", "5 steps", "gri", "BSD-3-Clause", "batch of 64", exported.contract.weights_sha256):
        assert text in card


def test_the_command_writes_model_and_card(run: Path, shards: Path, tmp_path: Path) -> None:
    out, card = tmp_path / "encoder.onnx", tmp_path / "card.md"
    result = CliRunner().invoke(export_command, [str(run), str(out), "--cutouts", str(shards), "--card", str(card)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}\n"
    assert "cutouts of the shards" in card.read_text()


@pytest.mark.parametrize(("content", "code"), [(None, "checkpoint.missing"), (b"not one", "checkpoint.damaged")])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes | None, code: str) -> None:
    path = tmp_path / "checkpoint.safetensors"
    if content:
        path.write_bytes(content)
    with pytest.raises(ScannerError) as caught:
        load(path)
    assert caught.value.code == code
