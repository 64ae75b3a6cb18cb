"""An output that cannot be written is refused before the work: an address, and a path below a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from catalogs.atomic import refuse_unwritable
from catalogs.errors import ScannerError
from tests.end_to_end.conftest import Scanner
from tests.support import small_tiles

ADDRESS = "s3://archive/results"


@pytest.mark.parametrize(
    "command",
    [
        ("scan-tiles", "--tiles", "-", "--root", "{tiles}", "--model", "{model}", "--out", ADDRESS),
        ("outliers", "--catalog", "{catalog}", "-f", "csv", "-o", f"{ADDRESS}/outliers.csv"),
        ("export", "lance", ADDRESS, "--catalog", "{catalog}"),
        ("export", "atlas", f"{ADDRESS}/atlas.parquet", "--catalog", "{catalog}"),
        ("export", "projector", ADDRESS, "--catalog", "{catalog}"),
        ("publish", ADDRESS, "--catalog", "{catalog}"),
        ("map", "--catalog", "{catalog}", "--method", "pca", "--figure", f"{ADDRESS}/map.png"),
        ("demo", "--out", ADDRESS),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_an_address_is_no_output(
    command: tuple[str, ...], scanner: Scanner, field: Path, catalogue: Path, model: Path, tmp_path: Path
) -> None:
    words = [word.format(tiles=field, catalog=catalogue, model=model) for word in command]
    done = scanner(*words, cwd=tmp_path, stdin="\n".join(small_tiles.names(3)))
    assert done.code != 0
    assert "is an address" in done.err
    assert "Give a folder" in done.err
    # A word that cannot be meant is an error of usage.
    assert ("[output.bad_name]" in done.err) == (done.code == 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        ("rank", "-f", "csv", "-o", "{out}"),
        ("rank", "--root", ".", "--gallery", "{out}.png"),
        ("evaluate-ranking", "--truth", "{file}", "--out", "{out}"),
        ("export", "atlas", "{out}.parquet"),
        ("export", "lance", "{out}"),
        ("export", "projector", "{out}"),
        ("publish", "{out}"),
        ("release", "{out}", "--project", "."),
        ("map", "--figure", "{out}.pdf"),
        ("verdicts", ".", "-o", "{out}"),
        ("hunt", "{out}", "--score"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_what_cannot_be_written_is_said_before_anything_is_read(
    command: tuple[str, ...], scanner: Scanner, tmp_path: Path
) -> None:
    """There is no catalogue here, which is what these commands would find first."""
    file = tmp_path / "file"
    file.touch()
    done = scanner(*(word.format(file=file, out=file / "new" / "out") for word in command), cwd=tmp_path)
    assert done.code == 1
    assert "[output.read_only]" in done.err
    assert [*tmp_path.iterdir()] == [file]


def test_an_output_below_folders_that_are_missing_can_be_written(tmp_path: Path) -> None:
    refuse_unwritable(tmp_path / "new" / "newer" / "out.csv")
    refuse_unwritable(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_below_a_link_that_leads_nowhere_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(ScannerError) as caught:
        refuse_unwritable(tmp_path / "link" / "new" / "out.csv")
    assert caught.value.code == "output.read_only"


@pytest.mark.parametrize(("locked", "into", "beside"), [("out", False, True), (".", True, False)])
def test_a_folder_that_is_replaced_needs_the_one_around_it(
    locked: str, into: bool, beside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere, so the answer of the system is made up."""
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != (tmp_path / locked).resolve())

    def can_write(replaced: bool) -> bool:
        try:
            refuse_unwritable(out, replaced)
        except ScannerError:
            return False
        return True

    assert (can_write(replaced=False), can_write(replaced=True)) == (into, beside)


def test_a_pipe_is_refused_before_it_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ScannerError, match="pipe"):
        refuse_unwritable(tmp_path / "pipe")
