"""Small shards of made-up galaxies: Gaussian blobs on noise, with gaps and missing bands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.config import Config, read

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
BANDS, WINDOW = ("u", "g", "r", "i", "z"), 40


def galaxies(rows: int, seed: int) -> np.ndarray:
    """float32 [rows, 5, 40, 40] in nJy: every tenth cutout has a gap, every fifth misses u and z."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:WINDOW, :WINDOW] - WINDOW / 2
    size, flux = random.uniform(1.5, 4, (rows, 1, 1, 1)), random.lognormal(3, 1, (rows, 5, 1, 1))
    images = flux * np.exp(-0.5 * (x**2 + y**2) / size**2) + random.normal(size=(rows, 5, WINDOW, WINDOW))
    images *= np.array([1, 2, 3, 4, 5])[:, None, None]
    images[::10, :, :, :7] = np.nan
    images[::5, [0, 4]] = np.nan
    return images.astype(np.float32)


def write_shards(folder: Path, train: int = 96, validate: int = 32) -> Path:
    folder.mkdir(parents=True)
    shards = []
    for name, source, split, rows in (
        ("sim", "simulated", "train", train), ("real", "field", "train", 8), ("held", "field", "validate", validate),
    ):  # fmt: skip
        np.save(folder / f"{name}.npy", galaxies(rows, len(shards)))
        kinds = ["galaxy", "star", "lookalike", "lens", "galaxy", "", "galaxy", "star"]
        labels = [kinds[row % 8] if name == "sim" else "" for row in range(rows)]
        pq.write_table(pa.table({"label": labels, "kind": ["object"] * len(labels)}), folder / f"{name}.parquet")
        shards.append({"file": f"{name}.npy", "rows": rows, "source": source, "split": split})
    manifest = {"bands": BANDS, "pixel_scale": 0.18577, "window": WINDOW, "unit": "nJy", "shards": shards}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


@pytest.fixture(scope="session")
def tiny() -> Config:
    config = read(CONFIGS / "tiny.toml")
    return replace(config, optimiser=replace(config.optimiser, steps=20))
