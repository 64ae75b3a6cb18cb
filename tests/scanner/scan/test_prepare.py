"""A tile is made ready for the encoder without doing anything twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from scanner.images import sections, tile_images
from scanner.scan import prepare
from scanner.scan.options import LOW, NORMAL, ScanOptions
from scanner.survey import survey, tile_list
from tests.support import small_tiles, tiny_encoder

UNIONS = survey.load("unions")
BANDS = "grz"


@pytest.mark.parametrize("sources", ["detect", "grid"])
@pytest.mark.parametrize(("memory", "strips"), [(NORMAL, 1), (LOW, 2)])
def test_scale_and_positions_are_worked_out_once(
    memory: str, strips: int, sources: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pixel scale once a tile, the positions of a strip once for each band."""
    monkeypatch.setattr(sections, "SECTION", (256, 512))
    small_tiles.write(tmp_path, "200.292", size=512, objects=100, bands=BANDS)
    calls: Counter[str] = Counter()

    def counted(module: Any, name: str) -> None:
        original = getattr(module, name)

        def call(*values: Any) -> Any:
            calls[name] += 1
            return original(*values)

        monkeypatch.setattr(module, name, call)

    counted(prepare, "check_scale")
    counted(tile_images.TileImages, "to_pixels")
    job = prepare.ReaderJob(UNIONS, tiny_encoder.contract(), ScanOptions(memory=memory, sources=sources, stride=64))
    parts = list(prepare.prepare(job, tile_list.find(UNIONS, "200.292", tmp_path)))
    assert [len(part) > 10 for part in parts if isinstance(part, prepare.Prepared)] == [True] * strips
    assert calls == {"check_scale": 1, "to_pixels": strips * len(UNIONS.bands)}
