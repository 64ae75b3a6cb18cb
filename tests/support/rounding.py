"""Prints the digest of each answer that products decide, for tests that give BLAS other numbers of threads."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import catalogs
from catalogs.catalogue import Catalogue
from catalogs.maps import projections
from catalogs.ranking.evaluation import EvaluationSettings, evaluate
from catalogs.ranking.outliers import outliers
from catalogs.ranking.rank import rank
from catalogs.search.matching import match
from catalogs.store.vectors import unit
from tests.support import catalogue_rows
from tests.support.catalogue_rows import RUN

DIM, ROWS = 256, 220


def fill(folder: Path) -> Catalogue:
    run = replace(RUN, contract={**RUN.contract, "embedding_dim": DIM})
    filled = catalogs.create(folder, run)
    rng = np.random.default_rng(3)
    # Of low rank: the eigenvectors of the rest are decided by rounding.
    directions = rng.normal(size=(20, DIM))
    for number in range(6):
        ra, dec = 50 + number + rng.uniform(0, 0.4, ROWS), 60 + rng.uniform(0, 0.4, ROWS)
        made = catalogue_rows.make(number, ra, dec, rng.normal(size=(ROWS, 20)) @ directions)
        catalogue_rows.write(filled, f"{number}.280", made, run)
    return filled


def resampled() -> np.ndarray:
    """Cutouts of noise at 0.7 of its pixel scale."""
    from scanner.images.sky.wcs import CelestialWCS
    from scanner.images.tile_images import TileImages
    from scanner.sources.sources import Sources
    from scanner.windows.frame import WindowFrame
    from scanner.windows.windows import Windows

    pixels = np.random.default_rng(0).normal(size=(2, 400, 400)).astype(np.float32)
    wcs = CelestialWCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [85.0, 50.0]
    wcs.wcs.cdelt, wcs.wcs.crpix = [-0.13 / 3600, 0.13 / 3600], [200.5, 200.5]
    images = TileImages.of("217.292", "ri", pixels, (wcs, wcs), 0.13, detection_band="r")
    places = np.linspace(120, 260, 12)
    return Windows(images, Sources.at(images, places, places), WindowFrame(("r", "i"), 64, 0.18577)).gather(0, 12)


def background() -> list[np.ndarray]:
    from scanner.images.background import Background

    rng = np.random.default_rng(1)
    cells = Background(rng.normal(size=(79, 157)), 1 + rng.random((79, 157)), 1.0, 1.0)
    return [part for _, *parts in cells.rows((slice(0, 5000), slice(0, 10_000))) for part in parts]


def answers(filled: Catalogue) -> dict[str, list[Any]]:
    table = filled.table(["ra", "dec", "embedding"])
    like = match(filled.snapshot(), table["ra"][::50].tolist(), table["dec"][::50].tolist())
    # First, since openTSNE loads scipy, which has a BLAS of its own; so do the last ones.
    found: dict[str, list[Any]] = {"map": [projections.fit(unit(np.asarray(table["embedding"][:300])), "tsne", 0)]}
    for method in ("centroid", "nearest", "probe"):
        for after in (None, "explore"):
            ranked = rank(filled, like, method=method, k=50, next=after)
            found[f"rank {method} {after}"] = [
                ranked[name] for name in ("object_id", "score", "probability", "similarity")
            ]
    settings = EvaluationSettings(examples=6, draws=3)
    found["evaluate"] = [draw for draws in evaluate(filled, like, settings).above.values() for draw in draws]
    for method in ("mahalanobis", "knn"):
        far = outliers(filled, method=method, k=200, sample=500)
        found[f"outliers {method}"] = [far[name] for name in ("object_id", "distance", "rarer_than")]
    return {**found, "resample": [resampled()], "background": background()}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, columns in answers(fill(Path(folder) / "embeddings")).items():
            content = b"".join(np.ascontiguousarray(column).tobytes() for column in columns)
            sys.stdout.write(f"{name}: {hashlib.sha256(content).hexdigest()}\n")


if __name__ == "__main__":
    main()
