"""A release: its number formats agree, plain torch loads it, its card can be followed, its checksums hold."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from catalogs.errors import ScannerError
from export import fp16
from export.__main__ import export_command
from export.card import render
from export.fp16 import to_half
from export.release import release
from export.to_onnx import export
from export.verify import make_galaxies
from scanner.encoder.agreement import agree
from scanner.encoder.encoder import Encoder
from scanner.encoder.onnx_file import SEAL_KEY, read_metadata, seal
from training.loop import checkpoint
from training.loop.pretrain import pretrain
from training.loop.release_folder import load_release
from training.model.embedding import EmbeddingGraph


@pytest.fixture(scope="module")
def made(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release by the command, with a table for its card."""
    folder = tmp_path_factory.mktemp("release") / "tiny"
    table = folder.parent / "evaluation.json"
    numbers = {"value": 0.5, "low": 0.4, "high": 0.6}
    table.write_text(json.dumps({"models": {"tiny": {"retrieval": {"measures": {"mAP matched": numbers}}}}}))
    done = CliRunner().invoke(export_command, [str(run), str(folder), "--evaluation", str(table)])
    assert done.exit_code == 0, done.output
    assert "fp16 against fp32: centred cosine" in done.stderr
    assert "int8 against fp32: centred cosine" in done.stderr
    return folder


@pytest.fixture(scope="module")
def flux(graph: EmbeddingGraph) -> np.ndarray:
    return make_galaxies(graph)


def onnx_vectors(path: Path, flux: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["embedding"], {"flux": flux})[0])


def test_every_file_is_there_and_has_its_checksum(made: Path) -> None:
    names = {path.name for path in made.iterdir()}
    encoders = {"encoder.onnx", "encoder_fp16.onnx", "encoder_int8.onnx"}
    assert names == encoders | {"model.safetensors", "config.json", "README.md", "SHA256SUMS"}
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=made, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count(": OK") == 6


def test_checksums_hold_where_the_weights_were_left_out(made: Path, tmp_path: Path) -> None:
    """As in an installed package; the card has the command."""
    (command,) = re.findall(r"`(sha256sum .*?)`", (made / "README.md").read_text())
    shutil.copytree(made, tmp_path / "installed")
    (tmp_path / "installed" / "model.safetensors").unlink()
    checked = subprocess.run(command.split(), cwd=tmp_path / "installed", capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count(": OK") == 5


def test_no_file_of_an_earlier_release_stands_in_for_a_refused_one(
    made: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise ScannerError("export.precision", "Too coarse.")

    shutil.copytree(made, tmp_path / "old")
    (tmp_path / "old" / "notes.txt").write_text("mine")
    monkeypatch.setattr("export.release.export_int8", refused)
    with pytest.raises(ScannerError):
        release(run, tmp_path / "old")
    assert {path.name for path in (tmp_path / "old").iterdir()} == {"encoder.onnx", "encoder_fp16.onnx", "notes.txt"}


@pytest.mark.parametrize("name", ["README.md", "config.json"])
def test_files_of_somebody_else_are_not_removed(run: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ScannerError) as caught:
        release(run, tmp_path)
    assert caught.value.code == "release.not_empty"
    assert name in caught.value.message
    assert (tmp_path / name).read_text() == "mine"


def test_every_file_says_what_its_bytes_are(made: Path) -> None:
    for name in ("encoder.onnx", "encoder_fp16.onnx", "encoder_int8.onnx"):
        path = made / name
        whole = path.read_bytes()
        assert read_metadata(whole)[SEAL_KEY] == seal(whole)
        try:
            path.write_bytes(whole[:-3000] + bytes([whole[-3000] ^ 1]) + whole[-2999:])
            with pytest.raises(ScannerError) as caught:
                Encoder(path, device="cpu")
            assert caught.value.code in ("model.damaged", "model.unreadable")
        finally:
            path.write_bytes(whole)


def test_half_precision_keeps_vectors_and_neighbours(made: Path, flux: np.ndarray) -> None:
    agreement = agree(onnx_vectors(made / "encoder.onnx", flux), onnx_vectors(made / "encoder_fp16.onnx", flux))
    assert agreement.least_centred_cosine > 0.999
    assert agreement.neighbour_overlap > 0.95


def test_half_precision_is_inside_only(made: Path) -> None:
    """Weights of the blocks are float16; input, output, stretch and rotation are float32: fluxes overflow float16."""
    model = onnx.load(made / "encoder_fp16.onnx")
    kinds = [entry.data_type for entry in model.graph.initializer if np.prod(entry.dims) > 500]
    assert kinds.count(onnx.TensorProto.FLOAT16) > 0.9 * len(kinds) - 1
    ends = [value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)]
    assert ends == [onnx.TensorProto.FLOAT] * 2
    size = [(made / name).stat().st_size for name in ("encoder_fp16.onnx", "encoder.onnx")]
    assert size[0] < 0.75 * size[1]


def test_half_precision_stands_bright_stars(made: Path, flux: np.ndarray) -> None:
    star = flux[:4] * np.float32(1e6)
    assert star.max() > 65504
    agreement = agree(onnx_vectors(made / "encoder.onnx", star), onnx_vectors(made / "encoder_fp16.onnx", star))
    assert agreement.least_centred_cosine > 0.999


def test_the_scanner_takes_the_half_file(made: Path) -> None:
    full, small = (Encoder(made / name, device="cpu") for name in ("encoder.onnx", "encoder_fp16.onnx"))
    assert small.contract.weights_sha256 == full.contract.weights_sha256
    assert (full.precision, small.precision) == ("fp32", "fp16")
    assert small.contract.fidelity is not None
    assert small.contract.fidelity["windows"] == 512
    assert small.sha256 != full.sha256


def test_a_half_file_that_differs_is_never_written(
    graph: EmbeddingGraph, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def coarse(whole: EmbeddingGraph) -> EmbeddingGraph:
        other = to_half(whole)
        other.mean += 10
        return other

    monkeypatch.setattr(fp16, "to_half", coarse)
    contract = Encoder(made / "encoder.onnx", device="cpu").contract
    with pytest.raises(ScannerError) as caught:
        fp16.export_half(graph, contract, tmp_path / "fp16.onnx", made / "encoder.onnx", make_galaxies(graph))
    assert caught.value.code == "export.precision"
    assert not list(tmp_path.iterdir())


def test_plain_torch_computes_the_same_from_the_safetensors(made: Path, flux: np.ndarray) -> None:
    with torch.no_grad():
        agreement = load_release(made)(torch.from_numpy(flux)).numpy()
    np.testing.assert_allclose(agreement, onnx_vectors(made / "encoder.onnx", flux), atol=1e-5)


def test_the_snippets_of_the_card_run_as_they_stand(made: Path, flux: np.ndarray, tmp_path: Path) -> None:
    snippets = re.findall(r"```python\n(.*?)```", (made / "README.md").read_text(), re.DOTALL)
    assert len(snippets) == 2
    np.save(tmp_path / "flux.npy", flux[:3])
    for snippet in snippets:
        code = f"import numpy\nflux = numpy.load({str(tmp_path / 'flux.npy')!r})\n{snippet}\nprint(embedding.shape)"
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n{code}"
        done = subprocess.run([sys.executable, "-c", code], cwd=made, capture_output=True, text=True)
        assert "(3, 32)" in done.stdout or "[3, 32]" in done.stdout, done.stderr


def test_the_card_quotes_table_and_checksums(made: Path) -> None:
    card = (made / "README.md").read_text()
    sums = dict(reversed(line.split()) for line in (made / "SHA256SUMS").read_text().splitlines())
    for text in ("| retrieval | mAP matched | 0.500 [0.40, 0.60] |", "BSD-3-Clause", "neighbours in common"):
        assert text in card
    assert all(sums[name] in card for name in sums if name != "README.md")


def test_the_card_tells_of_the_run_that_came_before(run: Path, shards: Path, tmp_path: Path) -> None:
    first = checkpoint.load(run)
    config = replace(
        first.config,
        name="second",
        augment=replace(first.config.augment, noise=2.0),
        optimiser=replace(first.config.optimiser, steps=2, ema=0.5),
    )
    pretrain(config, shards, tmp_path / "second", begin=run)
    second = checkpoint.load(tmp_path / "second")
    exported = export(tmp_path / "second", tmp_path / "encoder.onnx")
    card = render(exported)
    before = (
        f"`tiny`: 5 steps, 80 images, 0 min, 75% of patches masked, stretched pixels (weights `{first.weights_sha256}`)"
    )
    for text in (
        before,
        "averaged over the last steps (decay 0.5)",
        "with added noise of up to 2 times that of their background",
    ):
        assert text in card
    old = replace(second, data={key: value for key, value in second.data.items() if key != "stages"})
    checkpoint.save(old, tmp_path / "old.safetensors")
    assert f"began with the weights of `{first.weights_sha256}`." in render(replace(exported, checkpoint=old))
    again = export(tmp_path / "old.safetensors", tmp_path / "again.onnx", first=run)
    assert render(again).replace("again.onnx", "encoder.onnx") == card
    with pytest.raises(ScannerError) as caught:
        export(tmp_path / "old.safetensors", tmp_path / "other.onnx", first=tmp_path / "second")
    assert caught.value.code == "checkpoint.other_first"


def test_the_same_run_gives_the_same_release(made: Path, run: Path, tmp_path: Path) -> None:
    again = release(run, tmp_path / "again", evaluation=made.parent / "evaluation.json").folder
    assert (again / "SHA256SUMS").read_text() == (made / "SHA256SUMS").read_text()


@pytest.mark.parametrize("victim", ["config.json", "model.safetensors"])
def test_a_damaged_release_is_refused(made: Path, tmp_path: Path, victim: str) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((made / name).read_bytes() if name != victim else b"{}")
    with pytest.raises(ScannerError) as caught:
        load_release(tmp_path)
    assert caught.value.code == "release.damaged"
