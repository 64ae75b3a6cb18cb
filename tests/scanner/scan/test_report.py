"""Reports travel between processes as JSON, and come back as what they were."""

from __future__ import annotations

import json

import pytest

from catalogs.errors import ErrorCode, ScannerError
from scanner.scan.report import Seconds, TileReport


@pytest.mark.parametrize(
    "report",
    [
        TileReport("217.292", "done", 509, 3, Seconds(read=1.5, write=0.25)),
        TileReport("217.292", "done", 509, notes=("r.fits: taken as FK5.", "i.fits: taken as FK5.")),
        TileReport.failed("217.292", ScannerError(ErrorCode.TILE_DAMAGED, "It broke.", "Mend it.")),
        TileReport.failed("217.292", MemoryError()),
        TileReport.failed("217.292", ValueError("odd")),
    ],
)
def test_comes_back_from_json(report: TileReport) -> None:
    assert TileReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert TileReport.from_dict(report.to_dict()) == report


@pytest.mark.parametrize("change", [{"status": "odd"}, {"objects": "5"}, {"seconds": {}, "extra": 1}, {"tile": None}])
def test_what_is_no_report_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="|".join(change)):
        TileReport.from_dict(TileReport("217.292", "done").to_dict() | change)
