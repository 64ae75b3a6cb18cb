"""``python -m training``: help without torch, and a bad set-up in two lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BLOCKED = "import sys; sys.modules.update(dict.fromkeys(['torch', 'timm', 'galsim', 'lenstronomy', 'matplotlib']));"


def test_help_needs_neither_torch_nor_galsim() -> None:
    code = f"{BLOCKED} sys.argv[1:] = ['--help']; from training.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in ("simulate", "cutouts", "pretrain", "reconstruct"):
        assert command in done.stdout


def test_a_bad_configuration_says_what_is_wrong_what_to_do_and_its_code(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[model]\nwidth = 3")
    command = [sys.executable, "-m", "training", "pretrain", str(config), "--shards", "none", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "width" in done.stderr
    assert "Hint: " in done.stderr
    assert done.stderr.rstrip().endswith("[config.bad]")
