"""Scores beside the embedding: contracts of version 2, and one run of the session for both outputs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from catalogs.errors import ScannerError
from scanner.encoder import contract
from scanner.encoder.contract import Contract
from scanner.encoder.encoder import Encoder
from tests.support import tiny_encoder

SCORED = tiny_encoder.contract(scores=tiny_encoder.SCORES)
FIDELITY = {"centred_cosine": 1, "least_centred_cosine": 1, "neighbour_overlap": 1, "windows": 512}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder.write(tmp_path_factory.mktemp("scored") / "encoder.onnx", SCORED)


@pytest.fixture(scope="module")
def flux() -> NDArray[np.float32]:
    """Noise, bright stars, gaps, a missing band, and nothing at all."""
    flux = np.random.default_rng(7).normal(0, 30, (40, 5, 32, 32)).astype(np.float32)
    flux[::7] *= 1e4
    flux[3, :, :20] = np.nan
    flux[10:20, 0] = np.nan
    flux[30] = np.nan
    return flux


def test_the_contract_says_what_the_scores_are_and_comes_back(model: Path) -> None:
    read = contract.read(model)
    assert read == Contract.from_json(read.to_json()) == SCORED
    assert (read.version, read.to_dict()["version"], tiny_encoder.contract().version) == (2, 2, 1)
    assert "scores" not in tiny_encoder.contract().to_dict()
    assert read.to_dict()["scores"] == {
        "names": ["lens", "ring"], "prevalence": 0.001, "population": "Made-up cutouts.",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": []}, "must begin with lens"),
        ({"names": ["ring", "lens"]}, "must begin with lens"),
        ({"names": ["lens", "lens"]}, "repeat"),
        ({"names": ["lens", "Ring"]}, "'Ring' cannot name a column"),
        ({"names": ["lens", "ring\n"]}, "cannot name a column"),
        ({"names": ["lens", "x" * 41]}, "cannot name a column"),
        ({"names": "lens"}, "scores.names must be a list"),
        ({"prevalence": 0}, "prevalence 0"),
        ({"prevalence": 1.0}, "prevalence 1.0"),
        ({"prevalence": float("nan")}, "prevalence nan"),
        ({"prevalence": "0.1"}, "scores.prevalence must be a number"),
        ({"population": " "}, "population"),
        ({"population": "a\x1b[2J"}, "population"),
        ({"more": 1}, "unknown key"),
    ],
)
def test_scores_that_a_contract_cannot_have_are_refused_by_name(change: dict[str, Any], said: str) -> None:
    values = SCORED.to_dict()
    values["scores"] |= change
    with pytest.raises(ScannerError, match="scores") as caught:
        Contract.from_json(json.dumps(values))
    assert caught.value.code == "model.bad_contract"
    assert said in caught.value.message


@pytest.mark.parametrize(("version", "scored"), [(1, True), (2, False), (2.0, True)])
def test_version_and_scores_go_together(version: float, scored: bool) -> None:
    values = {**SCORED.to_dict(), "version": version}
    if not scored:
        del values["scores"]
    with pytest.raises(ScannerError, match=f"version is {version}, but a contract with") as caught:
        Contract.from_json(json.dumps(values))
    assert caught.value.code == "model.bad_contract"


def test_a_format_must_tell_what_it_does_to_the_scores() -> None:
    agreement = {"score_rms": 0.01, "score_largest": 0.1, "score_rank_correlation": 0.9999}
    small = replace(SCORED, precision="int8", fidelity=FIDELITY | agreement)
    assert "rank correlation of 0.9999" in Contract.from_json(small.to_json()).cost
    with pytest.raises(ScannerError) as caught:
        Contract.from_json(replace(small, fidelity=FIDELITY).to_json())
    assert caught.value.code == "model.bad_contract"


def test_one_run_gives_both_and_a_row_depends_on_its_pixels_alone(model: Path, flux: NDArray[np.float32]) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    expected = session.run(["embedding", "scores"], {"flux": flux})
    with Encoder(model, device="cpu", threads=1) as one, Encoder(model, device="cpu", threads=3, batch=7) as other:
        encoded = one.encode(flux)
        for made, plain, width in zip(encoded, expected, (48, 2), strict=True):
            assert made.shape == (40, width)
            np.testing.assert_allclose(made, plain, atol=1e-5)
        order = np.random.default_rng(1).permutation(len(flux))
        np.testing.assert_array_equal(other.encode(flux[order]).scores, encoded.scores[order])
        np.testing.assert_array_equal(one.encode(flux[5:6]).scores, encoded.scores[5:6])
        np.testing.assert_array_equal(one.embed(flux), encoded.vectors)
        assert one.encode(flux[:0]).scores.shape == (0, 2)
        flux = flux[:4].copy()
        flux[2, 1, 5, 5] = np.inf
        spoilt = one.encode(flux)
    assert np.isnan(spoilt.scores[2]).all()
    np.testing.assert_array_equal(spoilt.scores[[0, 1, 3]], encoded.scores[[0, 1, 3]])


def test_a_model_without_scores_gives_none(tmp_path: Path, flux: NDArray[np.float32]) -> None:
    with Encoder(tiny_encoder.write(tmp_path / "encoder.onnx", tiny_encoder.contract()), device="cpu") as plain:
        assert plain.encode(flux).scores.shape == (40, 0)


def test_a_graph_with_other_outputs_than_its_contract_is_refused(model: Path, tmp_path: Path) -> None:
    plain, one = tiny_encoder.contract(), replace(SCORED.scores or tiny_encoder.SCORES, names=("lens",))
    for graph, said in ((SCORED, plain), (plain, SCORED), (SCORED, replace(SCORED, scores=one))):
        path = tiny_encoder.write(tmp_path / "encoder.onnx", graph, metadata=said.to_json())
        with pytest.raises(ScannerError, match="scores") as caught:
            Encoder(path, device="cpu")
        assert caught.value.code == "model.bad_contract"


def test_a_graph_whose_scores_are_not_numbers_is_refused(model: Path, tmp_path: Path) -> None:
    spoilt = onnx.load(model)
    for tensor in spoilt.graph.initializer:
        if tensor.name == "score_offset":
            tensor.CopyFrom(numpy_helper.from_array(np.float32(np.inf), "score_offset"))
    spoilt.metadata_props.pop()
    helper.set_model_props(spoilt, {contract.CONTRACT_KEY: SCORED.to_json()})
    onnx.save(spoilt, tmp_path / "encoder.onnx")
    with pytest.raises(ScannerError, match="scores that are not finite") as caught:
        Encoder(tmp_path / "encoder.onnx", device="cpu")
    assert caught.value.code == "model.bad_output"
