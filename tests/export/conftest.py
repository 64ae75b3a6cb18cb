"""A tiny run, trained for a moment, and the file exported from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.to_onnx import Exported, export
from training.config import read
from training.loop.checkpoint import Checkpoint, load
from training.loop.pretrain import pretrain
from training.model.embedding import EmbeddingGraph

CONFIG = Path(__file__).parents[2] / "training" / "configs" / "tiny.toml"


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    random = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40] - 20
    light = random.lognormal(3, 1, (80, 3, 1, 1)) * np.exp(-np.hypot(x, y) / random.uniform(1, 5, (80, 1, 1, 1)))
    np.save(folder / "a.npy", (light + random.normal(size=light.shape)).astype(np.float32))
    shard = {"file": "a.npy", "rows": 80, "source": "made up", "sha256": ""}
    manifest = {"bands": ["g", "r", "i"], "pixel_scale": 0.18577, "window": 40, "unit": "nJy", "shards": [shard]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = read(CONFIG)
    out = tmp_path_factory.mktemp("run")
    pretrain(replace(config, optimiser=replace(config.optimiser, steps=5, warmup=2)), shards, out)
    return out


@pytest.fixture(scope="session")
def checkpoint(run: Path) -> Checkpoint:
    return load(run)


@pytest.fixture(scope="session")
def graph(checkpoint: Checkpoint) -> EmbeddingGraph:
    return checkpoint.embedding()


@pytest.fixture(scope="session")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(run, tmp_path_factory.mktemp("model") / "encoder.onnx")
