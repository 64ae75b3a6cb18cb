"""Spoilt FITS files, plain and compressed in every way: no crash, no hang, no wrong rows, bounded memory."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support import mutants

MUTANTS = int(os.environ.get("SCANNER_MUTANTS", "1000"))
MUCH = 200
"""MB by which no mutant of images of 96 x 96 px may raise the peak of a process' memory."""


@pytest.mark.skipif(sys.platform != "linux", reason="bounds the memory of a process")
def test_a_spoilt_file_is_refused_by_its_code_or_gives_the_rows_that_are_in_it(tmp_path: Path) -> None:
    """Bits flipped, bytes lost, doubled and made up, cards with wild values, raw and compressed: see ``mutants``.

    What gives rows at all is read again by astropy alone, and pixels, windows, variance and positions must agree.
    """
    mutants.write_originals(tmp_path)
    verdicts = list(mutants.judge_all(tmp_path, 0, MUTANTS))
    assert [verdict.seed for verdict in verdicts] == list(range(MUTANTS))
    assert not [verdict for verdict in verdicts if verdict.bad]
    assert max(verdict.grown for verdict in verdicts) < MUCH
    if MUTANTS >= 1000:  # the mutants are of all kinds: neither mere noise nor harmless
        met = Counter(verdict.outcome for verdict in verdicts)
        assert met["rows"] > MUTANTS / 10
        assert {"tile.truncated", "tile.bad_header", "tile.no_wcs", "tile.not_fits", "tile.no_image_hdu"} <= set(met)


def test_the_judge_sees_wrong_rows_crashes_and_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that finds nothing must be one that could have."""
    mutants.write_originals(tmp_path)
    monkeypatch.setattr(mutants, "honest", _other_pixels)
    assert mutants.judge(tmp_path, -1).outcome == "other pixels than in the file"

    command = [sys.executable, "-c", "import json, sys, time; print(json.dumps({'seed': 7, 'how': 'x'}), flush=True); "]
    for last, outcome in (("time.sleep(3600)", "hung"), ("import os; os.abort()", "the process ended with status -6")):
        monkeypatch.setattr(mutants, "PATIENCE", 10.0 if outcome == "hung" else 600.0)
        monkeypatch.setattr(mutants, "command", lambda *_, last=last: [*command[:2], command[2] + last])
        (verdict,) = mutants.judged_by_child(tmp_path, 7, 9)
        assert (verdict.seed, verdict.how, verdict.outcome, verdict.bad) == (7, "x", outcome, True)


def _other_pixels(path: Path, band: str, honest: object = mutants.honest) -> object:
    flux, variance, wcs = honest(path, band)  # type: ignore[operator]
    return flux + 1, variance, wcs
