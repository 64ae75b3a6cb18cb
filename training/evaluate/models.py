"""What is measured: ONNX encoders by their own contract, and the baselines they have to beat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from catalogs.errors import ScannerError
from training.evaluate.windows import BANDS, PIXEL_SCALE, LabelledWindows, central

PIXEL_PCA, RANDOM_WEIGHTS = "pixel-pca-64", "random-weights"
BASELINES = (PIXEL_PCA, RANDOM_WEIGHTS)
BATCH = 16
BASELINE_SIDE = 64
SOFTENING = 100.0  # nJy per pixel, about the sky noise of the development tiles

Flux = NDArray[np.float32]
Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Windows [N, 5, S, S] in nJy, bands u g r i z, to unit vectors [N, D]."""

    @property
    def name(self) -> str: ...
    @property
    def side(self) -> int: ...
    def embed(self, flux: Flux) -> Vectors: ...


class OnnxEncoder:
    """An exported encoder, run on the CPU through its own contract (bands, window, pixel scale).

    Errors: ``evaluate.no_model``, ``evaluate.no_contract``, ``evaluate.other_pixels``.
    """

    def __init__(self, path: Path, threads: int = 2) -> None:
        if not path.is_file():
            hint = f"MODEL is an encoder.onnx, or one of {', '.join(BASELINES)}."
            raise ScannerError("evaluate.no_model", f"There is no model file {path}.", hint)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        text = self._session.get_modelmeta().custom_metadata_map.get("scanner.contract")
        if text is None:
            raise ScannerError("evaluate.no_contract", f"{path} has no contract.", "Export it with python -m export.")
        contract = json.loads(text)
        self.name = str(path.parent.name if path.stem == "encoder" else path.stem)
        self.side = int(contract["window"])
        foreign = [band for band in contract["bands"] if band not in BANDS]
        if foreign or abs(contract["pixel_scale"] / PIXEL_SCALE - 1) > 0.01:
            wants = f"{'/'.join(contract['bands'])} at {contract['pixel_scale']} arcsec"
            hint = f"The development windows are {'/'.join(BANDS)} at {PIXEL_SCALE} arcsec."
            raise ScannerError("evaluate.other_pixels", f"{path} wants {wants}.", hint)
        self._bands = [BANDS.index(band) for band in contract["bands"]]

    def embed(self, flux: Flux) -> Vectors:
        pixels = central(flux, self.side)[:, self._bands]
        parts = [np.ascontiguousarray(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
        return np.concatenate([self._session.run(["embedding"], {"flux": part})[0] for part in parts])


class PixelPca:
    """The first 64 principal components of asinh pixels, axes fitted to the very windows that are measured."""

    name, side = PIXEL_PCA, BASELINE_SIDE

    def __init__(self, windows: LabelledWindows, components: int = 64) -> None:
        pixels = self._stretched(windows.flux)
        self._mean = pixels.mean(axis=0)
        self._axes = np.linalg.svd(pixels - self._mean, full_matrices=False)[2][:components].T

    def embed(self, flux: Flux) -> Vectors:
        return unit((self._stretched(flux) - self._mean) @ self._axes)

    def _stretched(self, flux: Flux) -> Flux:
        stretched = np.arcsinh(np.nan_to_num(central(flux, self.side)) / np.float32(SOFTENING))
        return stretched.reshape(len(flux), -1)


class RandomWeights:
    """The architecture of ``configs/small.toml``, never trained: mean of its patches, centred on the same windows."""

    name, side = RANDOM_WEIGHTS, BASELINE_SIDE

    def __init__(self, windows: LabelledWindows, seed: int = 0) -> None:
        import torch

        from training.config import read
        from training.mae import MaskedAutoencoder

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._model = MaskedAutoencoder(read(Path(__file__).parents[1] / "configs" / "small.toml").model).eval()
        self._mean = self._pooled(windows.flux).mean(axis=0)

    def embed(self, flux: Flux) -> Vectors:
        return unit(self._pooled(flux) - self._mean)

    def _pooled(self, flux: Flux) -> Vectors:
        import torch

        pixels, model = torch.from_numpy(np.ascontiguousarray(central(flux, self.side))), self._model
        with torch.no_grad():
            parts = [model.encoder(model.pixels(part))[:, 1:].mean(dim=1) for part in pixels.split(4 * BATCH)]
        return np.asarray(torch.cat(parts).numpy(), np.float32)


def unit(vectors: NDArray[np.floating]) -> Vectors:
    """Rows of length 1."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)
