"""The encoder that made a catalogue, opened for questions that are pixels."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from catalogs.errors import ErrorCode, ScannerError
from catalogs.store.backend import Backend
from scanner.encoder import certificate
from scanner.encoder.contract import resolve
from scanner.encoder.encoder import Encoder
from scanner.encoder.options import ONNXRUNTIME

NOT_HERE = {
    ErrorCode.DEVICE_PRECISION,
    ErrorCode.DEVICE_UNAVAILABLE,
    ErrorCode.RUNTIME_BROKEN,
    ErrorCode.RUNTIME_DISAGREES,
    ErrorCode.RUNTIME_MISSING,
    ErrorCode.RUNTIME_OLD,
}
"""Reasons for which this machine cannot compute as the one that made the catalogue."""

log = logging.getLogger(__name__)


def open_encoder(catalogue: Backend, model: str, device: str) -> Encoder:
    """Open the ``model`` of a catalogue, computed as the catalogue was, or by ONNX Runtime where that cannot be here.

    Raises:
        ScannerError: ``catalogue.other_model``, ``model.*``, ``device.*``.
    """
    info = catalogue.info
    try:
        path = resolve(model, info.contract.get("precision", "fp32"))
    except ScannerError as error:
        if model != info.model:
            raise
        hint = f"The catalogue was made with the model {info.model}. Give the path of its file with --model."
        raise ScannerError(error.code, error.message, hint) from error
    # Only a folder keeps what was measured of another runtime; for a dataset it is measured again.
    folder = catalogue.path / certificate.FOLDER if isinstance(catalogue.path, Path) else None
    try:
        # A catalogue holds the embeddings of one precision and runtime, so the query is embedded in the same.
        encoder = Encoder(path, device, precision=info.precision, runtime=info.runtime, certificates=folder)
        if encoder.certificate is not None and folder is not None:
            # Measured once. A catalogue on a read-only disk can be queried without keeping it.
            with contextlib.suppress(OSError, ScannerError):
                encoder.certificate.write(folder)
    except ScannerError as error:
        if info.runtime == ONNXRUNTIME or error.code not in NOT_HERE:
            raise
        encoder = Encoder(path, device)
        log.warning(
            "The catalogue was embedded by %s in %s, which cannot be used here (%s) Cutouts are embedded by ONNX "
            "Runtime in %s, with which those embeddings were found to agree.",
            info.runtime,
            info.precision,
            error.message,
            encoder.precision,
        )
    # The digest decides, since another file may have the model's name.
    if encoder.sha256 != info.model_sha256:
        raise ScannerError(
            ErrorCode.CATALOGUE_OTHER_MODEL,
            f"The catalogue was made with model {info.model} (sha256 {info.model_sha256[:12]}), "
            f"{encoder.path} is another (sha256 {encoder.sha256[:12]}): their embeddings cannot be compared.",
            "Give the catalogue's own model with --model.",
        )
    return encoder
