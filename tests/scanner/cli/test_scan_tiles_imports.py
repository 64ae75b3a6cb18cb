"""A scan loads what it uses: neither ranking nor queries nor Dask, unless they are asked for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import scanner
from tests.support import tiny_encoder

DEMO = Path(scanner.__file__).parent / "demo"
COMMAND = "from scanner.cli import main; main()"
NEVER_ENTERED = re.compile(
    r"(catalogs\.(ranking|search|index|hats|maps|lenses)|scanner\.(queries|figures|cluster)|distributed|dask|onnx|torch)"
    r"(\.|$)"
)


def test_neither_the_command_nor_its_reading_process_loads_what_it_does_not_use(tmp_path: Path) -> None:
    model = tiny_encoder.write(tmp_path / "encoder.onnx", tiny_encoder.contract())
    where = ("--tiles", DEMO / "list.txt", "--root", DEMO, "--model", model, "--out", tmp_path / "out")
    how = ("--device", "cpu", "--readers", "1", "--sources", "grid", "--stride", "400")
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "scan-tiles", *where, *how],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},  # every process lists its imports on stderr
    )
    loaded = Counter(re.findall(r"^import time: .*\| +(\S+)$", done.stderr, re.MULTILINE))
    assert "1 tiles done" in done.stdout
    assert loaded["scanner.scan.prepare"] == 2, "the command and its reading process"
    assert loaded["onnxruntime"] == 1, "the command alone"
    assert not [name for name in loaded if NEVER_ENTERED.match(name)]
