"""What scores cost a scan: the other model is the same file without its score head, and both are timed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.harness.setup import Setup
from bench.scan import scores
from scanner.encoder import contract, made_cutouts
from scanner.encoder.encoder import Encoder
from scanner.encoder.options import INT8


def test_the_file_without_scores_gives_the_same_embeddings(tmp_path: Path) -> None:
    path = contract.resolve("small", INT8)
    bare = Encoder(scores.write_without_scores(path, tmp_path / "encoder.onnx"), "cpu")
    assert bare.contract.scores is None
    scored = Encoder(path, "cpu")
    flux = made_cutouts.make(scored.contract, 4)
    exact, ours = scored.encode(flux), bare.encode(flux)
    np.testing.assert_array_equal(ours.vectors, exact.vectors)
    assert (exact.scores.shape, ours.scores.shape) == ((4, 1), (4, 0))


def test_both_are_scanned_and_timed(tmp_path: Path) -> None:
    figures = scores.measure(Setup("small", tmp_path, 320, quick=True))
    assert set(figures) == {"scores_cost", "scores_cost_cpu"}
    assert min(figures.values()) > 0
