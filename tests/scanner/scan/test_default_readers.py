"""How many processes read ahead where nobody said: by device, cores, memory, and how many workers share them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from scanner.encoder import session
from scanner.scan import options
from scanner.system import resources

DEFAULTS: dict[str, Any] = {"device": "auto", "precision": "fp32"}


@pytest.mark.parametrize(
    ("asked", "cores", "gpus", "memory", "expected"),
    [
        ({}, 2, 0, 16.0, 1),
        ({}, 64, 0, 256.0, 8),
        ({"device": "cpu"}, 64, 4, 256.0, 8),
        ({}, 16, 1, 128.0, 14),
        ({}, 16, 1, math.inf, 14),
        ({"device": "cuda"}, 16, 1, 128.0, 14),
        ({"device": "cuda:1"}, 16, 4, 128.0, 14),
        ({"device": "tensorrt"}, 2, 1, 128.0, 1),
        ({"precision": "int8"}, 64, 1, 256.0, 8),
        ({"precision": "fp16"}, 16, 1, 128.0, 14),
        ({}, 16, 1, 32.0, 10),  # 11 tiles of 2 GB, and 10 GB for readers
        ({}, 16, 1, 1.0, 1),
        ({"workers": 4}, 64, 4, 512.0, 14),
        ({"workers": 4}, 64, 4, 64.0, 4),
        ({"workers": 4}, 64, 0, 512.0, 2),
        ({"workers": 100}, 64, 0, 512.0, 1),
        ({"of_this_machine": False}, 64, 1, 512.0, 1),
        ({"workers": 8, "of_this_machine": False}, 64, 1, 512.0, 1),
    ],
)
def test_readers_where_nobody_said(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], cores: int, gpus: int, memory: float, expected: int
) -> None:
    monkeypatch.setattr(resources, "usable_cores", lambda: cores)
    monkeypatch.setattr(session, "gpu_count", lambda: gpus)
    monkeypatch.setattr(resources, "usable_memory", lambda: memory)
    assert options.default_readers(**DEFAULTS | asked) == expected
