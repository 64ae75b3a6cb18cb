"""What a query touches on disk, and what queries and scans load: at 20,000 tiles on a network disk that is the cost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import catalogs
from tests.end_to_end.conftest import Scanner
from tests.support.opened import FOLDER, opened

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel counts by inotify")
PIXEL_CODE = {"scipy.interpolate", "astropy.io.fits", "astropy.wcs", "sep", "onnxruntime", "scanner.windows"}


def loaded(command: str) -> set[str]:
    """Modules that a process has loaded after ``command``."""
    listing = f"{command}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_kernel_counts_listings_and_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with opened(tmp_path) as counts:
        (tmp_path / "a").read_text()
        (tmp_path / "a").read_text()
        list(tmp_path.iterdir())
        (tmp_path / "a").stat()
    assert counts == {"a": 2, FOLDER: 1}


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("by", ["position", "id", "list"])
def test_a_query_lists_the_tiles_once_and_opens_none_more_than_twice(
    scanner: Scanner, catalogue: Path, tmp_path: Path, indexed: bool, by: str
) -> None:
    table = catalogs.open(catalogue).table(["object_id", "ra", "dec"])
    copy = Path(shutil.copytree(catalogue, tmp_path / "embeddings"))
    if not indexed:
        shutil.rmtree(copy / "index")
    (tmp_path / "list.csv").write_text("ra,dec\n" + "".join(f"{row['ra']},{row['dec']}\n" for row in table[::20]))
    what = {
        "position": ("--ra", table["ra"][5], "--dec", table["dec"][5]),
        "id": ("--id", table["object_id"][5]),
        "list": ("--positions", tmp_path / "list.csv"),
    }[by]
    with opened(copy / "tiles") as counts:
        done = scanner("query", *what, "-k", 30, "--where", "snr > 0", "--catalog", copy)
    assert done.code == 0, done.err
    assert counts.pop(FOLDER) == 1
    assert max(counts.values()) <= 2, counts


def test_a_query_loads_no_pixel_code() -> None:
    assert not loaded("import scanner.queries.query") & PIXEL_CODE


def test_a_query_by_position_loads_no_pixel_code(catalogue: Path) -> None:
    row = catalogs.open(catalogue).table(["ra", "dec"])[5]
    arguments = ["query", "--ra", str(row["ra"]), "--dec", str(row["dec"]), "--catalog", str(catalogue), "-f", "csv"]
    command = f"""
from scanner.cli import main
try:
    main({arguments})
except SystemExit as end:
    assert not end.code
"""
    assert not loaded(command) & (PIXEL_CODE - {"astropy.io.fits"})


def test_a_scan_loads_no_search(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("200.292\n")
    arguments = ["scan-tiles", "--tiles", str(tmp_path / "list.txt"), "--root", str(tmp_path)]
    modules = loaded(f"""
from scanner.cli import main
try:
    main({[*arguments, "--out", str(tmp_path / "out")]})
except SystemExit as end:
    assert end.code == 3
""")
    assert "scanner.scan.pipeline" in modules
    rooms = ("catalogs.ranking", "catalogs.search", "catalogs.index", "scanner.queries", "scanner.cluster")
    assert [name for name in modules if name.startswith(rooms)] == []
