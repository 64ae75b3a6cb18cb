"""The scanner in one call: what ``import scanner`` offers, on the tile that comes with the package."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits

import catalogs
import scanner
from catalogs.errors import ScannerError
from scanner.api import OptionsError
from scanner.survey import survey as surveys
from tests.support import small_tiles, tiny_encoder

DEMO = Path(scanner.__file__).parent / "demo"
NAME = "217.292"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder.write(tmp_path_factory.mktemp("model") / "encoder.onnx", tiny_encoder.contract())


@pytest.fixture(scope="module")
def scan(model: Path) -> Callable[..., Any]:
    """``scanner.scan_tiles`` with a small model, in this process."""
    return lambda *given, **options: scanner.scan_tiles(
        *given, **{"root": DEMO, "model": model, "device": "cpu", "readers": 0, **options}
    )


def test_five_lines_from_a_tile_to_an_answer(scan: Callable[..., Any], tmp_path: Path) -> None:
    report = scan([NAME], tmp_path / "embeddings")
    with (DEMO / "truth.csv").open(newline="") as file:
        lens = next(row for row in csv.DictReader(file) if row["label"] == "lens")
    answer = catalogs.open(tmp_path / "embeddings").neighbours(ra=float(lens["ra"]), dec=float(lens["dec"]), k=5)
    assert [(tile.tile, tile.status) for tile in report.tiles] == [(NAME, "done")]
    assert report.objects == catalogs.open(tmp_path / "embeddings").rows(NAME) > 100
    assert len(answer) == 5


def test_a_list_file_and_its_lines_are_one(scan: Callable[..., Any], tmp_path: Path) -> None:
    for tiles, out in ((DEMO / "list.txt", "file"), ([DEMO / "CFIS.217.292.r.fits.fz"], "path"), ((NAME,), "name")):
        assert scan(tiles, tmp_path / out, sources="grid", stride=200).objects > 0
    files = [(tmp_path / out / "tiles" / f"{NAME}.parquet").read_bytes() for out in ("file", "path", "name")]
    assert files[0] == files[1] == files[2]


def test_a_tile_whose_ids_another_tile_of_the_catalogue_has_is_refused(
    scan: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "out" / "tiles").mkdir(parents=True)
    # A patch of another survey with the digits of this tile.
    (tmp_path / "out" / "tiles" / "2172-9,2.parquet").touch()
    report = scan([NAME], tmp_path / "out", sources="grid", stride=200)
    assert [(tile.tile, tile.code) for tile in report.tiles] == [(NAME, "tile.same_number")]


def test_a_tile_that_is_done_is_skipped_and_one_that_is_nowhere_is_reported(
    scan: Callable[..., Any], tmp_path: Path
) -> None:
    options = {"sources": "grid", "stride": 200, "survey": scanner.load_survey("unions"), "bands": "r,i"}
    scan([NAME], tmp_path / "out", **options)
    report = scan(["217.292", "100.280"], tmp_path / "out", **options)
    assert {tile.tile: (tile.status, tile.code) for tile in report.tiles} == {
        NAME: ("skipped", ""),
        "100.280": ("failed", "tile.missing_file"),
    }


@pytest.mark.parametrize(
    "options",
    [
        {"keep": 10},
        {"like": Path("lenses.csv")},
        {"like_catalog": Path("embeddings")},
        {"keep": 10, "like": Path("lenses.csv"), "root": "https://host/unions"},
        {"dask": "tcp://host:8786", "workers": 2},
        {"dask": ""},
        {"dask_config": Path("slurm.yaml")},
    ],
)
def test_options_that_contradict_each_other_are_refused(
    scan: Callable[..., Any], tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(OptionsError):
        scan([NAME], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_table_of_pixels_for_several_tiles_is_refused_before_the_scan(
    scan: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "pixels.csv").write_text("x,y\n100,100\n")
    (tmp_path / "text.csv").write_text("no table")
    for name, code in (("pixels.csv", "sources.other_tile"), ("text.csv", "sources.no_positions")):
        with pytest.raises(ScannerError) as caught:
            scan([NAME, "218.292"], tmp_path / "out", sources=str(tmp_path / name))
        assert caught.value.code == code
        assert not (tmp_path / "out").exists()
    report = scan([NAME], tmp_path / "out", sources=str(tmp_path / "pixels.csv"))
    assert (report.objects, report.dropped.total) == (1, 0)


def test_the_names_of_version_0_1_are_forwarded() -> None:
    import scanner.cluster
    import scanner.scan
    import scanner.survey
    from scanner.cluster import job, run
    from scanner.scan.run import scan_tiles

    with pytest.warns(DeprecationWarning, match=r"scanner\.scan_tiles"):
        assert scanner.scan.scan_tiles is scan_tiles
    with pytest.warns(DeprecationWarning, match=r"scanner\.load_survey"):
        assert scanner.survey.load is surveys.load
    with pytest.warns(DeprecationWarning, match="workers"):
        assert (scanner.cluster.scan_tiles, scanner.cluster.Where) == (run.scan_tiles, job.WorkerSource)
    for room in (scanner, scanner.scan, scanner.survey, scanner.cluster):
        with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
            _ = room.nonsense


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import scanner, sys; assert not {'numpy', 'click', 'astropy', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_checksums_may_be_left_out(scan: Callable[..., Any], tmp_path: Path) -> None:
    """A tile whose files have sums that fit gives the same bytes with and without their verification."""
    small_tiles.write(tmp_path / "images", "200.292", size=200, objects=5, bands="r")
    path = small_tiles.band_file(tmp_path / "images", "200.292", "r")
    pixels, header = fits.getdata(path, header=True)
    fits.writeto(path, pixels, header, overwrite=True, checksum=True)
    options = {"root": tmp_path / "images", "sources": "grid", "stride": 100}
    for checksums in (True, False):
        assert scan(["200.292"], tmp_path / str(checksums), checksums=checksums, **options).count("done") == 1
    files = [tmp_path / str(checksums) / "tiles/200.292.parquet" for checksums in (True, False)]
    assert files[0].read_bytes() == files[1].read_bytes()

    raw = bytearray(path.read_bytes())
    raw[-4_000] ^= 1
    path.write_bytes(bytes(raw))
    (report,) = scan(["200.292"], tmp_path / "damaged", **options).failed
    assert report.code == "tile.checksum"
    assert scan(["200.292"], tmp_path / "damaged", checksums=False, **options).count("done") == 1
