"""The 8-bit file: agrees with float32, treats every row for itself, and keeps in float32 what must be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from catalogs.errors import ScannerError
from export.int8 import add_gaps, block_products, export_int8, quantise
from export.precision import vectors, write_format
from export.to_onnx import Exported
from export.verify import cases, make_galaxies
from scanner.encoder.agreement import agree
from scanner.encoder.contract import CONTRACT_KEY
from scanner.encoder.encoder import Encoder
from scanner.encoder.onnx_file import SEAL_KEY
from training.model.embedding import EmbeddingGraph


@pytest.fixture(scope="module")
def flux(graph: EmbeddingGraph) -> np.ndarray:
    return make_galaxies(graph, 256)


@pytest.fixture(scope="module")
def small(
    exported: Exported, graph: EmbeddingGraph, flux: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("int8") / "encoder_int8.onnx"
    export_int8(exported.path, exported.contract, out, make_galaxies(graph, 128, seed=1), flux)
    return out


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_vectors_and_neighbours_are_kept_on_windows_it_was_not_scaled_by(
    exported: Exported, small: Path, graph: EmbeddingGraph
) -> None:
    fresh = make_galaxies(graph, 256, seed=7)
    agreement = agree(vectors(session(exported.path), fresh), vectors(session(small), fresh))
    assert agreement.centred_cosine >= 0.995
    assert agreement.neighbour_overlap >= 0.95


def test_every_product_with_weights_in_a_block_is_in_8_bits_and_no_other(exported: Exported, small: Path) -> None:
    model, full = onnx.load(small), onnx.load(exported.path)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("MatMulIntegerToFloat") == len(block_products(full)) == 4 * 2  # depth 2
    assert kinds.count("MatMul") == 2 * 2 + 3  # attention; pooling, what missing bands add, projection
    assert "DequantizeLinear" not in kinds
    assert small.stat().st_size < exported.path.stat().st_size


def test_a_row_depends_on_its_own_pixels_only(small: Path, flux: np.ndarray) -> None:
    running = session(small)
    alone = running.run(None, {"flux": flux[:4]})[0]
    others = np.concatenate([flux[:4], flux[8:20] * np.float32(1e4)])
    np.testing.assert_array_equal(running.run(None, {"flux": others})[0][:4], alone)


def test_gaps_sentinels_and_stars_give_unit_vectors(small: Path, flux: np.ndarray) -> None:
    for name, batch in cases(flux[:64]):
        length = np.linalg.norm(session(small).run(None, {"flux": batch})[0], axis=1)
        np.testing.assert_allclose(length, 1, atol=1e-3, err_msg=name)


def test_its_contract_says_what_it_is_and_what_it_costs(exported: Exported, small: Path) -> None:
    contract = json.loads(onnx.load(small).metadata_props[0].value)
    assert [entry.key for entry in onnx.load(small).metadata_props] == [CONTRACT_KEY, SEAL_KEY]
    assert contract["precision"] == "int8"
    assert contract["fidelity"]["windows"] == 256
    assert contract["fidelity"]["centred_cosine"] >= 0.995
    encoder = Encoder(exported.path, device="cpu")
    assert encoder.contract.precision == "fp32"
    assert "fidelity" not in encoder.contract.to_dict()


def test_the_same_file_twice(exported: Exported, small: Path, graph: EmbeddingGraph, flux: np.ndarray) -> None:
    again = small.with_name("again.onnx")
    export_int8(exported.path, exported.contract, again, make_galaxies(graph, 128, seed=1), flux)
    assert again.read_bytes() == small.read_bytes()


def test_a_file_that_differs_too_much_is_never_written(exported: Exported, flux: np.ndarray, tmp_path: Path) -> None:
    blind = quantise(exported.path, np.full_like(flux[:16], np.nan))
    with pytest.raises(ScannerError) as caught:
        write_format(blind, "int8", exported.contract, tmp_path / "out.onnx", exported.path, flux)
    assert caught.value.code == "export.precision"
    assert not list(tmp_path.iterdir())


def test_calibration_sees_windows_without_a_band_and_with_holes(flux: np.ndarray) -> None:
    gaps = np.isnan(add_gaps(flux[:9])).mean(axis=(2, 3))
    assert (gaps[0::3] == 1).sum() == 3
    assert ((gaps[1::3] > 0) & (gaps[1::3] < 1)).all()
    assert (gaps[2::3] == 0).all()
    assert np.isfinite(flux).all()
