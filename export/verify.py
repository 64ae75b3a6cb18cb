"""Verification: ONNX Runtime computes from the file what torch computes from the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from training.config import Config
from training.cutouts.shards import TRAIN, VALIDATE
from training.loop.batches import CENTRED, make_batch, open_cutouts
from training.loop.statistics import draw_keys
from training.model.embedding import EmbeddingGraph

TOLERANCE = 1e-5
"""Largest difference of any coordinate of any unit vector, ten times that of float32 sums in another order."""

SCORE_TOLERANCE = 1e-4
"""Largest difference of any score, in log-odds."""

ROWS = 64
Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Verification:
    """The ``worst`` difference of vectors in each check, that of ``scores``, and a description of the pixels."""

    pixels: str
    worst: dict[str, float]
    scores: dict[str, float]
    tolerance: float = TOLERANCE
    score_tolerance: float = SCORE_TOLERANCE


def verify(path: Path, graph: EmbeddingGraph, config: Config, cutouts: Path | None = None) -> Verification:
    """Compare the file with the module on batches of 1, 2 and 64, with missing bands, pixels and sentinels.

    Raises:
        ScannerError: ``export.disagrees`` at the first check that fails.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    flux = comparison_pixels(graph, config, cutouts)
    compared: dict[str, tuple[list[Pixels], list[Pixels]]] = {}
    for name, batch in cases(flux):
        compared[name] = session.run(None, {"flux": batch}), results(graph, batch)
    # What an object gives must not depend on its batch.
    alone = [session.run(None, {"flux": flux[i : i + 1]}) for i in range(8)]
    whole = session.run(None, {"flux": flux})
    compared["rows alone and in a batch"] = (
        [np.concatenate(x) for x in zip(*alone, strict=True)],
        [x[:8] for x in whole],
    )
    worst = {name: _difference(name, answer[0], expected[0]) for name, (answer, expected) in compared.items()}
    scores = {
        name: _score_difference(name, answer[1], expected[1])
        for name, (answer, expected) in compared.items()
        if graph.head is not None
    }
    return Verification("made-up galaxies" if cutouts is None else "cutouts of the shards", worst, scores)


def results(graph: EmbeddingGraph, flux: Pixels) -> list[Pixels]:
    """Compute with torch what the file gives: vectors [N, D], and with a head the scores [N, K]."""
    with torch.no_grad():
        made = graph(torch.from_numpy(flux))
    return [tensor.numpy() for tensor in (made if isinstance(made, tuple) else (made,))]


def comparison_pixels(
    graph: EmbeddingGraph, config: Config, cutouts: Path | None = None, rows: int = ROWS, seed: int = 0
) -> Pixels:
    """Make at most ``rows`` cutouts [n, B, S, S] to compare files on: of shards if given, else made up."""
    return make_galaxies(graph, rows, seed) if cutouts is None else _stored(cutouts, config, rows, seed)


def _difference(name: str, answer: Pixels, expected: Pixels) -> float:
    """Find the largest difference; both must be finite and ``answer`` of unit length."""
    worst = float(np.abs(answer - expected).max()) if answer.shape == expected.shape else np.inf
    length = float(np.abs(np.linalg.norm(answer, axis=1) - 1).max())
    # Comparisons with NaN are false, so `not` refuses NaN too.
    if not max(worst, length) <= TOLERANCE:
        lengths = f", lengths differ from 1 by {length:.2e}"
        raise _disagrees(name, f"ONNX Runtime and torch differ by {worst:.2e}{lengths}", TOLERANCE)
    return worst


def _score_difference(name: str, answer: Pixels, expected: Pixels) -> float:
    """Find the largest difference of a score; all must be finite."""
    worst = float(np.abs(answer - expected).max()) if answer.shape == expected.shape else np.inf
    if not worst <= SCORE_TOLERANCE:  # refuses NaN, and infinity less infinity, too
        raise _disagrees(name, f"scores of ONNX Runtime and torch differ by {worst:.2e}", SCORE_TOLERANCE)
    return worst


def _disagrees(name: str, how: str, allowed: float) -> ScannerError:
    return ScannerError(
        ErrorCode.EXPORT_DISAGREES,
        f"Check {name!r}: {how}; at most {allowed:.0e} is allowed. No file was written.",
        "Run the same export with another version of onnxruntime or torch.",
    )


def cases(flux: Pixels) -> Iterator[tuple[str, Pixels]]:
    """Yield named batches made of ``flux`` [64, B, S, S]."""
    for n in (1, 2, len(flux)):
        yield f"batch of {n}", flux[:n]
    for band in range(flux.shape[1]):
        yield f"band {band} missing", _changed(flux, lambda x, b=band: x[:, b].fill(np.nan))  # type: ignore[misc]
    yield "one band left", _changed(flux, lambda x: x[:, 1:].fill(np.nan))
    random = np.random.default_rng(0)
    # The share of missing pixels differs from cutout to cutout.
    holes = random.random(flux.shape) < random.random((len(flux), 1, 1, 1))
    yield "random pixels missing", np.where(holes, np.float32(np.nan), flux)
    yield "nothing but NaN", np.full_like(flux[:2], np.nan)
    # Values beyond 1e15 nJy are sentinels and count as no data; those of 1e14 nJy are still fluxes.
    extreme = random.choice(np.array([0, 1e14, -1e14, 1e30, -1e30, np.inf], np.float32), flux[:4].shape)
    yield "extreme values", extreme
    yield "a saturated star", flux[:4] * np.float32(1e6)


def _changed(flux: Pixels, change: Callable[[Pixels], None]) -> Pixels:
    copy = flux.copy()
    change(copy)
    return copy


def _stored(folder: Path, config: Config, rows: int, seed: int) -> Pixels:
    held_out = open_cutouts(folder, config, VALIDATE)
    cutouts = held_out if len(held_out) >= ROWS else open_cutouts(folder, config, TRAIN)
    if len(cutouts) < ROWS:
        raise ScannerError(ErrorCode.SHARDS_EMPTY, f"{folder} holds fewer than {ROWS} cutouts to compare on.")
    return make_batch(cutouts, draw_keys(cutouts, rows, seed), CENTRED, config).flux.numpy()


def make_galaxies(graph: EmbeddingGraph, rows: int = ROWS, seed: int = 0) -> Pixels:
    """Make float32 [``rows``, B, S, S] of elliptical galaxies on noise as large as the model's softening."""
    softening = graph.pixels.softening.numpy()
    bands, window = len(softening), graph.pixels.fill.shape[-1] * graph.pixels.tiles
    random = np.random.default_rng(seed)
    # Offsets from the centre in pixels, [S, S] each.
    y, x = np.mgrid[:window, :window] - window / 2
    angle, ratio = random.uniform(0, np.pi, (rows, 1, 1, 1)), random.uniform(0.3, 1, (rows, 1, 1, 1))
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    # Elliptical radius [N, 1, S, S] in scale lengths, which are 1 px to an eighth of the cutout.
    radius = np.hypot(along, across / ratio) / random.uniform(1, window / 8, (rows, 1, 1, 1))
    # Light [N, B, S, S] and noise are in units of the softening, which the last step turns into nJy.
    light = random.lognormal(3, 1.5, (rows, bands, 1, 1)) * np.exp(-(radius**0.7))
    return ((light + random.normal(size=light.shape)) * softening).astype(np.float32)
