"""A run with scores as a release: both outputs agree with torch, and the formats keep the score and its head."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from catalogs.errors import ScannerError
from export import int8, to_onnx
from export.__main__ import export_command
from export.card import render
from export.fp16 import to_half
from export.precision import write_format
from export.to_onnx import Exported, export
from export.verify import SCORE_TOLERANCE, cases, make_galaxies, results
from scanner.encoder.agreement import THRESHOLDS, agree_scores
from scanner.encoder.contract import Contract
from scanner.encoder.encoder import Encoder
from training.config import Score
from training.loop import checkpoint as checkpoints
from training.loop.checkpoint import Checkpoint, blank_graph
from training.loop.release_folder import load_release
from training.model.embedding import EmbeddingGraph
from training.model.embedding_options import EmbeddingOptions

RECIPE = EmbeddingOptions(emphasis=0.0)
SCORE = Score(classes=("lens", "ring", "galaxy"), given=2, hidden=64, prevalence=0.002)
POPULATION = "Held-out cutouts of painted, real: those of the class against ordinary objects."


@pytest.fixture(scope="module")
def graph(checkpoint: Checkpoint) -> EmbeddingGraph:
    """The encoder of the tiny run, with a head whose weights are random and whose scores scatter by some units."""
    torch.manual_seed(3)
    graph = blank_graph(replace(checkpoint.config, score=SCORE), RECIPE)
    graph.load_state_dict(graph.state_dict() | checkpoint.embedding(RECIPE).state_dict())
    assert graph.head is not None
    with torch.no_grad():
        for layer in (graph.head.inner, graph.head.outer):
            layer.weight.normal_(0, 3 / layer.in_features**0.5)
    graph.head.slope[:], graph.head.offset[:] = torch.tensor([0.7, 1.2]), torch.tensor([-4.0, -2.0])
    return graph


@pytest.fixture(scope="module")
def scored(checkpoint: Checkpoint, graph: EmbeddingGraph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as the third stage writes it."""
    path = tmp_path_factory.mktemp("scored") / "checkpoint.safetensors"
    parts = (("real", "train", 80), ("real", "validate", 20), ("painted", "validate", 10))
    shards = [{"source": source, "split": split, "rows": rows} for source, split, rows in parts]
    data = {**checkpoint.data, "recipe": asdict(RECIPE), "manifest": {**checkpoint.data["manifest"], "shards": shards}}
    config = replace(checkpoint.config, score=SCORE)
    checkpoints.save(Checkpoint(config, checkpoint.progress, data, graph.state_dict()), path)
    return path


@pytest.fixture(scope="module")
def made(scored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release by the command."""
    folder = tmp_path_factory.mktemp("release") / "tiny"
    done = CliRunner().invoke(export_command, [str(scored), str(folder)])
    assert done.exit_code == 0, done.output
    assert "scores, batch of 64: " in done.stderr
    assert re.search(r"int8 against fp32: .*; scores differ by 0.0\d+ of their scatter", done.stderr)
    return folder


@pytest.fixture(scope="module")
def exported(scored: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(scored, tmp_path_factory.mktemp("model") / "encoder.onnx")


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_the_file_gives_what_torch_gives_on_every_case(exported: Exported, graph: EmbeddingGraph) -> None:
    running = session(exported.path)
    shapes = [(output.name, output.shape) for output in running.get_outputs()]
    assert shapes == [("embedding", ["N", 32]), ("scores", ["N", 2])]
    for name, batch in cases(make_galaxies(graph, seed=5)):
        expected = results(graph, batch)
        assert expected[1].shape == (len(batch), 2)
        for answer, torch_gave in zip(running.run(None, {"flux": batch}), expected, strict=True):
            assert np.isfinite(answer).all()
            np.testing.assert_allclose(answer, torch_gave, atol=SCORE_TOLERANCE, err_msg=name)
    assert exported.verification.scores.keys() == exported.verification.worst.keys()
    assert max(exported.verification.scores.values()) <= SCORE_TOLERANCE


def test_the_score_is_the_calibrated_log_odds_of_its_class(exported: Exported, graph: EmbeddingGraph) -> None:
    flux = make_galaxies(graph, 16, seed=6)
    assert graph.head is not None
    with torch.no_grad():
        shares = graph.head(graph.encode(torch.from_numpy(flux))[0]).double().softmax(dim=1)[:, :2].numpy()
    expected = np.log(shares / (1 - shares)) * [0.7, 1.2] + [-4.0, -2.0]
    scores = session(exported.path).run(["scores"], {"flux": flux})[0]
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    assert scores.std(axis=0).min() > 0.5


def test_the_contract_is_that_of_the_run(exported: Exported, scored: Path) -> None:
    with Encoder(exported.path, device="cpu") as encoder:
        contract = encoder.contract
    assert contract == Contract.from_json(exported.contract.to_json())
    assert contract.version == 2
    assert contract.scores is not None
    assert contract.scores.to_dict() == {"names": ["lens", "ring"], "prevalence": 0.002, "population": POPULATION}
    assert contract.pooling == str(RECIPE)
    assert contract.weights_sha256 == checkpoints.load(scored).weights_sha256


def test_scores_that_disagree_are_never_written(
    scored: Path, graph: EmbeddingGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = to_onnx.trace

    def slightly_wrong(graph: EmbeddingGraph, contract: Contract) -> onnx.ModelProto:
        assert graph.head is not None
        graph.head.offset += 0.01
        model = honest(graph, contract)
        graph.head.offset -= 0.01
        return model

    monkeypatch.setattr(to_onnx, "trace", slightly_wrong)
    with pytest.raises(ScannerError, match="scores of ONNX Runtime and torch differ") as caught:
        export(scored, tmp_path / "encoder.onnx")
    assert caught.value.code == "export.disagrees"
    assert not list(tmp_path.iterdir())


def test_scores_before_their_calibration_are_not_exported(scored: Path, tmp_path: Path) -> None:
    """A run that was interrupted has what its optimiser needs."""
    done = checkpoints.load(scored)
    path = tmp_path / "checkpoint.safetensors"
    checkpoints.save(replace(done, optimiser={"0/step": torch.ones(1)}), path)
    with pytest.raises(ScannerError, match="not calibrated") as caught:
        export(path, tmp_path / "encoder.onnx")
    assert caught.value.code == "checkpoint.unfinished"


def test_the_embedding_of_a_run_with_scores_cannot_change(scored: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(export_command, [str(scored), str(tmp_path / "encoder.onnx"), "--emphasis", "2"])
    assert isinstance(done.exception, ScannerError)
    assert done.exception.code == "export.fixed_options"
    assert "emphasis 0" in done.exception.message
    assert not list(tmp_path.iterdir())
    assert export(scored, tmp_path / "encoder.onnx", RECIPE).contract.pooling == str(RECIPE)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_format_keeps_the_score_and_says_how_well(made: Path, graph: EmbeddingGraph, precision: str) -> None:
    flux = make_galaxies(graph, 128, seed=9)
    with (
        Encoder(made / "encoder.onnx", "cpu") as full,
        Encoder(made / "encoder.onnx", "cpu", None, None, precision) as (other),
    ):
        agreement = agree_scores(full.encode(flux).scores, other.encode(flux).scores)
        fidelity = other.contract.fidelity
        assert "of their scatter" in other.contract.cost
    bound = THRESHOLDS[precision].scores
    assert agreement.score_rms <= bound.score_rms
    assert agreement.score_rank_correlation >= bound.score_rank_correlation
    assert fidelity is not None
    assert 0 < fidelity["score_rms"] <= fidelity["score_largest"] <= bound.score_largest


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_the_head_stays_in_float32(made: Path, graph: EmbeddingGraph, precision: str) -> None:
    assert graph.head is not None
    weights = {name: tensor.numpy() for name, tensor in graph.head.state_dict().items() if tensor.ndim == 2}
    model = onnx.load(made / f"encoder_{precision}.onnx")
    stored = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    for name, weight in weights.items():
        assert any(
            part.dtype == np.float32 and part.shape in (weight.shape, weight.T.shape)
            and (np.array_equal(part, weight) or np.array_equal(part, weight.T))
            for part in stored
        ), name  # fmt: skip


def test_a_format_that_moves_the_score_alone_is_never_written(
    exported: Exported, graph: EmbeddingGraph, tmp_path: Path
) -> None:
    """The vectors agree as ever: a little noise in the head is enough to refuse the file."""
    spoilt = to_half(graph)
    assert spoilt.head is not None
    torch.manual_seed(0)
    with torch.no_grad():
        spoilt.head.inner.weight += 0.1 * torch.randn_like(spoilt.head.inner.weight)
    model = to_onnx.trace(spoilt, exported.contract)
    flux = make_galaxies(graph, 128)
    with pytest.raises(ScannerError, match="scores differ by") as caught:
        write_format(model, "fp16", exported.contract, tmp_path / "out.onnx", exported.path, flux)
    assert caught.value.code == "export.precision"
    assert "centred cosine 1.0000" in caught.value.message or "centred cosine 0.9999" in caught.value.message
    assert not list(tmp_path.iterdir())


def test_calibration_of_8_bits_leaves_the_head_alone(exported: Exported) -> None:
    products = int8.block_products(onnx.load(exported.path))
    assert len(products) == 4 * 2
    assert not [name for name in products if "head" in name]


def test_plain_torch_and_the_snippets_of_the_card_give_both(made: Path, graph: EmbeddingGraph, tmp_path: Path) -> None:
    flux = make_galaxies(graph, 3)
    for mine, theirs in zip(results(load_release(made), flux), results(graph, flux), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    card = (made / "README.md").read_text()
    for text in ("| of a score |", POPULATION, "prevalence of 0.002", "`score_lens`, `score_ring`", "head of 64 units"):
        assert text in card
    snippets = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    np.save(tmp_path / "flux.npy", flux)
    for snippet in snippets:
        code = f"import numpy\nflux = numpy.load({str(tmp_path / 'flux.npy')!r})\n{snippet}\nprint(list(scores.shape))"
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n{code}"
        done = subprocess.run([sys.executable, "-c", code], cwd=made, capture_output=True, text=True)
        assert done.stdout == "[3, 2]\n", done.stderr
    config = json.loads((made / "config.json").read_text())
    assert config["contract"]["scores"]["names"] == ["lens", "ring"]
    assert config["recipe"] == asdict(RECIPE)


def test_a_card_without_scores_says_nothing_of_them(exported: Exported, checkpoint: Checkpoint) -> None:
    plain = replace(exported.contract, scores=None)
    verification = replace(exported.verification, scores={})
    card = render(replace(exported, contract=plain, checkpoint=checkpoint, verification=verification))
    assert "score" not in card


def test_scores_that_are_all_the_same_agree_with_each_other() -> None:
    """A head that tells nothing gives one score: a format that keeps it is good, one that does not is refused."""
    one = np.full((20, 1), -7.0, np.float32)
    assert THRESHOLDS["fp16"].scores.score_rank_correlation <= agree_scores(one, one).score_rank_correlation
    varied = one + np.linspace(0, 1, 20, dtype=np.float32)[:, None]
    assert not agree_scores(one, varied).score_largest <= THRESHOLDS["fp16"].scores.score_largest
