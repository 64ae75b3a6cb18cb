"""Certificates name what does not agree, each number with its bound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from catalogs.errors import ScannerError
from scanner.encoder.agreement import THRESHOLDS, Agreement, ScoreAgreement
from scanner.encoder.certificate import Certificate, Subject

SUBJECT = Subject("openvino", "OpenVINO 2026.4", "fp32", "a processor", "a" * 64)
EQUAL = Agreement(1.0, 1.0, 1.0, 512, ScoreAgreement(0.0, 0.0, 1.0))


def refusal(agreement: Agreement) -> str:
    with pytest.raises(ScannerError) as caught:
        Certificate(SUBJECT, agreement).check()
    assert caught.value.code == "runtime.disagrees"
    assert not THRESHOLDS["fp32"].passed_by(agreement)
    return caught.value.message


def test_equal_results_pass() -> None:
    Certificate(SUBJECT, EQUAL).check()
    Certificate(SUBJECT, replace(EQUAL, scores=None)).check()


def test_scores_alone_are_named_where_they_alone_disagree() -> None:
    message = refusal(replace(EQUAL, scores=ScoreAgreement(0.004, 0.01, 0.99999)))
    assert message == (
        "OpenVINO 2026.4 in fp32 disagrees with ONNX Runtime on a processor: "
        "rms difference of scores 0.004 (at most 0.002 is allowed)."
    )


def test_all_that_disagrees_is_named_and_no_other() -> None:
    message = refusal(Agreement(0.5, 0.1, 0.995, 512, ScoreAgreement(0.001, 0.03, np.nan)))
    assert "centred cosine 0.5 (at least 0.9999 is needed)" in message
    assert "rank correlation of scores nan (at least 0.9999 is needed)" in message
    assert "largest difference of scores 0.03 (at most 0.02 is allowed)" in message
    assert "neighbours" not in message
    assert "rms" not in message
    assert "common neighbours 0.9 (at least 0.99 is needed)" in refusal(replace(EQUAL, neighbour_overlap=0.9))
