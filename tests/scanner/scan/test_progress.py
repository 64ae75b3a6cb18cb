"""What people see of a scan: on stderr, one line a tile, with the reason where there is one."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace

import pytest

from scanner.scan.progress import Bar, Lines, line
from scanner.scan.report import ScanReport, Seconds, TileReport
from scanner.sources.dropped import Dropped

DROPPED = Dropped(not_numbers=1, off_sky=2, off_tile=4, no_data=5, no_embedding=8)
DONE = TileReport("217.292", "done", 1234, 20, Seconds(0.5, 2.0, 0.25, 30.0, 0.125), dropped_by=DROPPED)
FAILED = TileReport("218.292", "failed", code="tile.truncated", message="r.fits ends early.", hint="Fetch it again.")
SKIPPED = TileReport("219.292", "skipped")


def test_one_line_says_what_became_of_a_tile() -> None:
    assert line(DONE) == (
        "217.292 1234 objects, 1 not numbers, 2 off the sky, 4 off the tile, 5 without data, 8 without embedding "
        "(read 0.5, detect 2.0, cut 0.2, infer 30.0, write 0.1 s)"
    )
    assert line(FAILED) == "218.292 failed: r.fits ends early. [tile.truncated]"
    assert line(SKIPPED) == "219.292 done before"


def test_lines_count_and_failures_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with Lines(total=3) as progress:
        for report in (DONE, FAILED, SKIPPED):
            progress.started(report.tile, report.objects)
            progress.embedded(report.objects)
            progress.finished(report)
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO"]
    assert caplog.records[1].getMessage().startswith("[2/3] 218.292 failed")


def test_notes_of_a_tile_follow_its_line(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    noted = replace(DONE, notes=("r.fits: taken as FK5.",))
    caplog.set_level(logging.INFO)
    Lines(total=1).finished(noted)
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert caplog.records[1].getMessage() == "217.292: r.fits: taken as FK5."
    with Bar(total=1) as progress:
        progress.finished(noted)
    assert "217.292: r.fits: taken as FK5." in capsys.readouterr().err


def test_lines_say_how_long_it_will_take(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tiles of a thousand took a minute, and one took none: it was done before."""
    clock = iter([0.0, 30.0, 60.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    caplog.set_level(logging.INFO)
    progress = Lines(total=1000)
    for report in (SKIPPED, DONE, FAILED):
        progress.finished(report)
    places = [record.getMessage().partition("]")[0] for record in caplog.records]
    assert places == ["[1/1000", "[2/1000, 8 h 19 min left", "[3/1000, 8 h 18 min left"]


def test_a_bar_of_other_work_takes_its_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar(unit="file") as progress:
        progress.reached(2, 5)
        progress.reached(5, 5)
    assert "5/5" in capsys.readouterr().err


def test_a_bar_leaves_stdout_to_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar(total=3) as progress:
        progress.started("217.292", 1234)
        progress.embedded(1234)
        progress.finished(DONE)
        progress.finished(FAILED)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "2/3" in shown.err
    assert "objects/s" in shown.err
    assert "218.292 failed: r.fits ends early." in shown.err


def test_a_report_is_json() -> None:
    report = ScanReport((DONE, FAILED, SKIPPED, DONE), wall=60.0)
    found = json.loads(json.dumps(report.to_dict()))
    assert (found["done"], found["failed"], found["skipped"], found["objects"]) == (2, 1, 1, 2468)
    assert found["seconds"]["infer"] == 60.0
    assert found["tiles"][1]["hint"] == "Fetch it again."
    assert report.failed == (FAILED,)
