"""The numbers of a run: a log that a resumed run continues, and the same in TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from catalogs.errors import ScannerError
from training.loop.journal import CURVE, EVENTS, Journal, read_log


def test_a_resumed_journal_forgets_what_will_happen_again(tmp_path: Path) -> None:
    first = Journal(tmp_path, 0)
    for step in (1, 2, 3):
        first.write(step, loss=1 / step)
    again = Journal(tmp_path, 2)
    again.write(3, loss=0.25)
    again.close()
    assert [record["loss"] for record in read_log(tmp_path)] == [1.0, 0.5, 0.25]
    assert (tmp_path / CURVE).stat().st_size > 1000


def test_tensorboard_gets_the_same_numbers_once(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    first = Journal(tmp_path, 0, tensorboard=True)
    for step in (1, 2, 3):
        first.write(step, loss=1 / step)
    first.close()
    again = Journal(tmp_path, 2, tensorboard=True)
    again.write(3, loss=0.25)
    again.close()
    events = accumulator.EventAccumulator(str(tmp_path / EVENTS)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 1.0), (2, 0.5), (3, 0.25)]


def test_without_tensorboard_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ScannerError, match="TensorBoard") as caught:
        Journal(tmp_path, 0, tensorboard=True)
    assert caught.value.code == "tensorboard.missing"
    assert not any(tmp_path.iterdir())
