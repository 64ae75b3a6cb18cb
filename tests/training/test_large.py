"""``make model-large``, the command for a machine with a GPU, goes through on any machine at small size."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from training.loop.checkpoint import load, stages

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_simulation_to_release_in_three_stages_with_two_processes(tmp_path: Path) -> None:
    """Contrast, bfloat16, accumulation and loaders as in large.toml; nothing to evaluate with."""
    options = ["SCENES=9", "GPUS=2", "WORKERS=2", "MINUTES=0.1", "LARGE=training/configs/rehearsal", "DATA=none"]
    here = [f"BIN={Path(sys.executable).parent}", f"BUILD={tmp_path}", "--old-file", ".venv/dev"]
    done = subprocess.run(
        ["make", "model-large", *options, *here], cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    model = tmp_path / "model"
    third = load(model / "lens-large")
    assert [stage["name"] for stage in stages(third)] == ["rehearsal-reconstruct", "rehearsal", "rehearsal-lens"]
    assert all(stage["steps"] >= 10 for stage in stages(third))
    assert load(model / "run-large").progress["minutes"] == pytest.approx(0.045)
    contract = json.loads((model / "large" / "config.json").read_text())["contract"]
    assert contract["weights_sha256"] == third.weights_sha256
    assert contract["scores"]["names"] == ["lens"]
    assert "`rehearsal-reconstruct`" in (model / "large" / "README.md").read_text()
    assert (model / "large" / "SHA256SUMS").is_file()
