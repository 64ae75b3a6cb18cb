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


def test_a_scan_of_a_folder_that_is_not_there_ends_before_its_first_tile(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("217.292\n218.292\n")
    words = ["scan-tiles", "--tiles", tmp_path / "list.txt", "--root", tmp_path / "unions", "--out", tmp_path / "out"]
    outcome = CliRunner().invoke(main, [*map(str, words), "--device", "cpu"])
    assert outcome.exit_code == 1
    assert outcome.stderr.count("[root.unreadable]") == 1
    assert f"{tmp_path / 'unions'} cannot be read (No such file or directory)" in outcome.stderr
    assert not (tmp_path / "out").exists()
