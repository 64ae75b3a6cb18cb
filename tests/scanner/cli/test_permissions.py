"""Commands in folders where the user may not write or read: an error with a code."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from scanner.cli import main


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")])
def test_a_demo_in_a_forbidden_folder_has_a_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def refuse(path: Path, *rest: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(Path, "mkdir", refuse)
    outcome = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "new")])
    assert outcome.exit_code == 1
    assert "[output.read_only]" in outcome.stderr
    assert str(tmp_path / "new") in outcome.stderr


def test_a_demo_in_the_place_of_a_file_has_a_code(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "file" / "new")])
    assert (outcome.exit_code, "[output.read_only]" in outcome.stderr) == (1, True)
