"""An encoder that costs nothing, in each number format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import tiny_encoder


@pytest.fixture(scope="package")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    same = {"centred_cosine": 1.0, "least_centred_cosine": 1.0, "neighbour_overlap": 1.0, "windows": 64}
    folder, fp32 = tmp_path_factory.mktemp("model"), tiny_encoder.contract()
    for precision in ("int8", "fp16"):
        tiny_encoder.write(folder / f"encoder_{precision}.onnx", replace(fp32, precision=precision, fidelity=same))
    return tiny_encoder.write(folder / "encoder.onnx", fp32)
