"""ONNX Runtime keeps no record of its use: neither the home nor the temporary folder has a file of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support import tiny_encoder

ROOT = Path(__file__).parents[3]


def run(code: str, folder: Path) -> None:
    folders = {"HOME": folder / "home", "TMPDIR": folder / "tmp", "XDG_CACHE_HOME": folder / "home" / ".cache"}
    for path in folders.values():
        path.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {name: str(path) for name, path in folders.items()}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)


def test_a_session_leaves_no_file_behind(tmp_path: Path) -> None:
    model = tiny_encoder.write(tmp_path / "model" / "encoder.onnx", tiny_encoder.contract())
    run(f"from scanner.encoder.encoder import Encoder; Encoder({str(model)!r}, device='cpu')", tmp_path)
    assert not [path for folder in ("home", "tmp") for path in (tmp_path / folder).rglob("*") if path.is_file()]


def test_it_is_off_in_every_package_that_opens_sessions_before_these_are_imported(tmp_path: Path) -> None:
    for package in ("scanner.encoder", "export", "training.evaluate"):
        run(
            f"import os, sys, {package}\n"
            "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1' and 'onnxruntime' not in sys.modules",
            tmp_path,
        )
