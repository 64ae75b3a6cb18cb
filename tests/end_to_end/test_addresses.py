"""Results are written to folders: an address as an output is refused, and nothing is written in its name."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    # An option that cannot be meant is an error of usage.
    assert ("[output.bad_name]" in done.err) == (done.code == 1)
    assert not list(tmp_path.iterdir())
