"""The model that comes with the package: its formats agree on the packaged tile, its card is of these files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import scanner
from scanner.encoder.agreement import THRESHOLDS, agree, agree_scores
from scanner.encoder.contract import DEFAULT_MODEL, resolve
from scanner.encoder.encoder import Encoder
from scanner.images import tile_images
from scanner.sources import sources
from scanner.survey import survey, tile_list
from scanner.windows.frame import WindowFrame
from scanner.windows.windows import Windows
from training.loop.release_folder import load_release

PACKAGE = Path(scanner.__file__).parent
ROWS = 128


@pytest.fixture(scope="module")
def flux() -> NDArray[np.float32]:
    """Windows of the packaged tile, [N, B, S, S] in nJy; neither calibrated nor compared on at export."""
    unions = survey.load("unions")
    opened = tile_images.open_tile(unions, tile_list.find(unions, "217.292", PACKAGE / "demo"))
    with Encoder(DEFAULT_MODEL, device="cpu") as encoder:
        return Windows(opened, sources.detect(opened), WindowFrame(*encoder.contract.frame)).gather(0, ROWS)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_other_formats_come_with_it_and_agree(flux: NDArray[np.float32], precision: str) -> None:
    with (
        Encoder(DEFAULT_MODEL, device="cpu") as exact,
        Encoder(DEFAULT_MODEL, device="cpu", precision=precision) as other,
    ):
        one, two = exact.encode(flux), other.encode(flux)
        agreement, scores = agree(one.vectors, two.vectors), agree_scores(one.scores, two.scores)
        assert other.contract.weights_sha256 == exact.contract.weights_sha256
    assert agreement.centred_cosine >= THRESHOLDS[precision].centred_cosine, agreement
    assert agreement.neighbour_overlap >= THRESHOLDS[precision].neighbour_overlap, agreement
    assert scores.score_rms <= THRESHOLDS[precision].scores.score_rms, scores


def test_the_weights_beside_it_give_its_vectors(flux: NDArray[np.float32]) -> None:
    module = load_release(resolve(DEFAULT_MODEL).parent)
    with Encoder(DEFAULT_MODEL, device="cpu") as encoder, torch.no_grad():
        vectors, scores = module(torch.from_numpy(flux))
        made = encoder.encode(flux)
        np.testing.assert_allclose(vectors, made.vectors, atol=1e-5)
        np.testing.assert_allclose(scores, made.scores, atol=1e-4)


def test_card_checksums_and_recipe_are_of_these_files() -> None:
    folder = resolve(DEFAULT_MODEL).parent
    card = (folder / "README.md").read_text(encoding="utf-8")
    sums = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    assert set(sums) == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    for name, expected in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected
        assert name == "README.md" or f"| {name} | `{expected}` |" in card
    with Encoder(DEFAULT_MODEL, device="cpu") as encoder:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        assert config["contract"] == encoder.contract.to_dict()
