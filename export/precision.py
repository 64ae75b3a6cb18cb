"""Number formats: a file is written only if its vectors and scores agree with those of float32, as it then records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from catalogs.atomic import replacing
from catalogs.errors import ErrorCode, ScannerError
from export.to_onnx import add_contract
from export.verify import ROWS, cases
from scanner.encoder.agreement import THRESHOLDS, Agreement, Vectors, agree, agree_scores
from scanner.encoder.contract import Contract

UNIT_TOLERANCE = 1e-3
PROVIDERS = ["CPUExecutionProvider"]


def write_format(
    model: onnx.ModelProto, precision: str, contract: Contract, out: Path, full: Path, flux: Vectors
) -> Agreement:
    """Write ``model`` to ``out`` if what it gives for ``flux`` [N, B, S, S] agrees with the float32 file ``full``.

    The contract of the file holds the format and the agreement.

    Raises:
        ScannerError: ``export.precision`` if the agreement is below the ``THRESHOLDS`` of the format, or if in a case
            of ``export.verify`` a vector is not of unit length or a score is not finite.
    """
    # All cases, such as missing bands and sentinels, which the agreement does not cover.
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=PROVIDERS)
    for name, batch in cases(flux[:ROWS]):
        made, *scores = session.run(None, {"flux": batch})
        if not np.abs(np.linalg.norm(made, axis=1) - 1).max() < UNIT_TOLERANCE:
            raise _refused(precision, f"on the check {name!r} a vector is not of unit length")
        if not all(np.isfinite(score).all() for score in scores):
            raise _refused(precision, f"on the check {name!r} a score is not finite")
    reference = onnxruntime.InferenceSession(full, providers=PROVIDERS)
    agreement = agree(vectors(reference, flux), vectors(session, flux))
    if contract.scores is not None:
        scores = agree_scores(*(outputs(one, flux, "scores") for one in (reference, session)))
        agreement = replace(agreement, scores=scores)
    if not THRESHOLDS[precision].passed_by(agreement):
        raise _refused(precision, str(agreement))
    described = add_contract(model, replace(contract, precision=precision, fidelity=agreement.to_dict()))
    with replacing(out) as temporary:
        temporary.write_bytes(described.SerializeToString(deterministic=True))
    return agreement


def vectors(session: Any, flux: Vectors, batch: int = 16) -> Vectors:
    """Embed ``flux`` [N, B, S, S] by a session, to [N, D]."""
    return outputs(session, flux, "embedding", batch)


def outputs(session: Any, flux: Vectors, name: str, batch: int = 16) -> Vectors:
    """Compute an output of a session for ``flux`` [N, B, S, S]: ``embedding`` [N, D] or ``scores`` [N, K]."""
    parts = (flux[start : start + batch] for start in range(0, len(flux), batch))
    return np.concatenate([session.run([name], {"flux": part})[0] for part in parts])


def _refused(precision: str, why: str) -> ScannerError:
    return ScannerError(
        ErrorCode.EXPORT_PRECISION,
        f"{precision} changes the results too much: {why}. No {precision} file was written.",
        "Give --cutouts to calibrate and compare on real pixels, or scan with the float32 file.",
    )
