"""Models of an evaluation: ONNX encoders by their contract, and the mean of their embeddings over orientations."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky.unions_grid import PIXEL_SCALE
from catalogs.store.vectors import unit
from scanner.encoder.contract import CONTRACT_KEY, Contract
from scanner.survey.bands import BANDS
from scanner.windows.orientations import ORIENTATIONS, orient
from training.evaluate.sets.lenses import central

BATCH = 16

Flux = NDArray[np.float32]
Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]


class Embedder(Protocol):
    """Embeds cutouts [N, 5, S, S] in nJy, bands u g r i z, S at least ``side``, to unit vectors [N, D]."""

    @property
    def side(self) -> int: ...
    def embed(self, flux: Flux) -> Vectors: ...


@runtime_checkable
class Scoring(Protocol):
    """Gives cutouts [N, 5, S, S] a lens score, log-odds [N]; None where the model has none."""

    def score(self, flux: Flux) -> Floats | None: ...


class OnnxEncoder:
    """An exported encoder, run on the CPU by its contract (bands, window, pixel scale).

    Raises:
        ScannerError: ``evaluate.no_model``, ``evaluate.no_contract``, ``evaluate.other_pixels``; ``model.bad_contract``
            and ``model.version`` of a contract that is damaged or of another version.
    """

    def __init__(self, path: Path, threads: int = 2) -> None:
        if not path.is_file():
            hint = "Give an encoder.onnx or the name of a baseline: python -m training evaluate --help"
            raise ScannerError(ErrorCode.EVALUATE_NO_MODEL, f"There is no model file {path}.", hint)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        text = self._session.get_modelmeta().custom_metadata_map.get(CONTRACT_KEY)
        if text is None:
            raise ScannerError(
                ErrorCode.EVALUATE_NO_CONTRACT, f"{path} has no contract.", "Export it with python -m export."
            )
        contract = Contract.from_json(text, str(path))
        self.name = str(path.parent.name if path.stem == "encoder" else path.stem)
        self.side, self._has_scores = contract.window, contract.scores is not None
        # Cutouts are not resampled here, so the model must be for their pixel scale.
        foreign = [band for band in contract.bands if band not in BANDS]
        if foreign or abs(contract.pixel_scale / PIXEL_SCALE - 1) > 0.01:
            needs = f"{'/'.join(contract.bands)} at {contract.pixel_scale} arcsec"
            hint = f"Give a model for {'/'.join(BANDS)} at {PIXEL_SCALE} arcsec, as the development data have."
            raise ScannerError(ErrorCode.EVALUATE_OTHER_PIXELS, f"{path} needs {needs}.", hint)
        self._bands = [BANDS.index(band) for band in contract.bands]

    def embed(self, flux: Flux) -> Vectors:
        return self._run("embedding", flux)

    def score(self, flux: Flux) -> Floats | None:
        # The lens is the first of the scores.
        return self._run("scores", flux)[:, 0].astype(np.float64) if self._has_scores else None

    def _run(self, output: str, flux: Flux) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(flux), BATCH):
            # The middle of the cutouts in the bands of the model: [n, B, side, side].
            pixels = central(flux[start : start + BATCH], self.side)[:, self._bands]
            parts.append(self._session.run([output], {"flux": np.ascontiguousarray(pixels)})[0])
        return np.concatenate(parts)


class TurnAverage:
    """The mean of an encoder's vectors and scores over the 8 orientations of a cutout, at 8 times the cost."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder, self.side = embedder, embedder.side

    def score(self, flux: Flux) -> Floats | None:
        if not isinstance(self._embedder, Scoring):
            return None
        scores = [self._embedder.score(orient(flux, number)) for number in range(ORIENTATIONS)]
        return None if scores[0] is None else np.asarray(np.mean(np.stack(scores), axis=0))  # type: ignore[arg-type]

    def embed(self, flux: Flux) -> Vectors:
        # The sum has the direction of the mean, and `unit` removes its length.
        return unit(np.sum([self._embedder.embed(orient(flux, number)) for number in range(ORIENTATIONS)], axis=0))
