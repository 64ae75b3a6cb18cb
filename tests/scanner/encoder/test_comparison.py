"""What ``scanner info --runtimes`` measures and recommends."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scanner.encoder import comparison
from scanner.encoder.buffers import Encoded
from scanner.encoder.comparison import Choice
from scanner.encoder.encoder import Encoder
from tests.support import tiny_encoder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_encoder.write(tmp_path / "encoder.onnx", tiny_encoder.contract())


@pytest.mark.parametrize("sound", [True, False])
def test_what_is_fastest_is_recommended_if_it_gives_the_same(
    model: Path, monkeypatch: pytest.MonkeyPatch, sound: bool
) -> None:
    """A processor that computes a precision wrongly is fast too."""
    clock = [0.0]

    def opened(path: str, device: str, precision: str, runtime: str) -> Encoder:
        encoder, takes = Encoder(path, device), 0.25 if runtime == "openvino" else 1.0

        def embed(flux: Any) -> None:
            clock[0] += takes

        monkeypatch.setattr(encoder, "embed", embed)
        if runtime == "openvino":
            encode = encoder.encode

            def encode_otherwise(flux: Any) -> Encoded:
                vectors, scores = encode(flux)
                return Encoded(vectors if sound else vectors[::-1], scores)

            monkeypatch.setattr(encoder, "encode", encode_otherwise)
        return encoder

    monkeypatch.setattr(comparison, "Encoder", opened)
    monkeypatch.setattr(comparison, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(
        comparison, "choices", lambda: iter([Choice("onnxruntime", "fp32"), Choice("openvino", "bf16")])
    )
    compared = comparison.compare(str(model))
    assert compared["recommended"] == ("--runtime openvino --precision bf16" if sound else "")
    default, other = compared["runtimes"]
    assert default["centred_cosine"] == pytest.approx(1)
    assert "problem" not in default
    assert other["times_default"] == 4
    assert ("problem" in other) == (not sound)


def test_scores_are_compared_too(tmp_path: Path) -> None:
    scored = tiny_encoder.write(tmp_path / "scored.onnx", tiny_encoder.contract(scores=tiny_encoder.SCORES))
    compared = comparison.compare(str(scored))
    assert compared["runtimes"][0]["scores"]["score_rms"] == 0
