"""A scan of two thousand tiles takes no more memory, files or threads at its end than near its beginning."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import soak

TILES = int(os.environ.get("SCANNER_SOAK", "2000"))
REPOSITORY = Path(__file__).parents[2]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to see the memory of processes")
def test_a_soak_of_small_tiles_is_flat(tmp_path: Path, model: Path) -> None:
    """Good, empty, large, cut short and absent ones. What grows is the list of their reports, some 1 kB a tile."""
    soak.write(tmp_path)
    command = [sys.executable, "-m", "tests.support.soak", str(tmp_path), str(model), str(TILES), "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["done"] == TILES * 8 // 10
    assert report["failed"] == TILES * 2 // 10
    assert report["codes"] == ["tile.missing_file", "tile.truncated"]
    assert report["objects"] > TILES
    assert len(list((tmp_path / "out" / "tiles").iterdir())) == report["done"]

    samples = [soak.Sample(**sample) for sample in report["samples"]][:-1]  # at the last, the reader may be gone
    settled = samples[len(samples) // 5 :]
    assert len(settled) > 2
    for what, allowed in (("main", 4 + TILES * 0.002), ("readers", 2), ("files", 2), ("threads", 2)):
        course = [getattr(sample, what) for sample in settled]
        assert min(course) > 0
        assert max(course) - course[0] <= allowed, f"{what} grew: {course}"
