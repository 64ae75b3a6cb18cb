"""Whatever a file of Dask settings holds, it is read or refused by its name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from catalogs.errors import ScannerError
from scanner.cluster.settings import read_settings


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 3000, "a: 2001-99-99", "a: [", "- 1", "a: \x00"])
def test_a_file_that_is_no_settings_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dask.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScannerError) as refused:
        read_settings(path)
    assert refused.value.code == "cluster.bad_config"
    assert str(path) in refused.value.message


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes of POSIX")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "dask.yaml"
    os.mkfifo(path)
    with pytest.raises(ScannerError) as refused:
        read_settings(path)
    assert refused.value.code == "cluster.bad_config"
