"""The tutorial works: every block of docs/analysis.md is run, in order, on a catalogue made by the commands."""

from __future__ import annotations

import csv
import io
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import votable
from astropy.table import Table
from PIL import Image

import catalogs

from .conftest import Scanner

TUTORIAL = Path(__file__).parents[2] / "docs" / "analysis.md"
NEEDED = ("matplotlib", "pandas", "polars", "duckdb", "openTSNE", "lsdb")


def blocks() -> list[tuple[str, str]]:
    """Language and code of each block."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", TUTORIAL.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def done(scanner: Scanner, catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder after the tutorial, and the names it defined; answers to SQL are under ``answers``."""
    for name in NEEDED:
        pytest.importorskip(name, reason="a reader of the tutorial is not installed")
    import duckdb
    import matplotlib

    matplotlib.use("Agg")
    folder = tmp_path_factory.mktemp("tutorial")
    shutil.copytree(catalogue, folder / "embeddings")
    names: dict[str, Any] = {"answers": []}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for language, code in blocks():
            if language == "python":
                exec(compile(code, str(TUTORIAL), "exec"), names)
            elif language == "sql":
                names["answers"].append(duckdb.sql(code).fetchnumpy())
            elif language == "sh":
                for line in code.splitlines():
                    ran = scanner(*shlex.split(line)[1:], cwd=folder)
                    assert ran.code == 0, ran.err
    return folder, names


@pytest.mark.filterwarnings("ignore")
def test_the_tutorial_ends_in_a_plot_a_map_and_an_archive(done: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = done
    for name in ("plot.png", "tsne.png"):
        image = np.asarray(Image.open(folder / name).convert("RGB"))
        assert image.shape[0] > 300
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 100
    assert (folder / "archive" / "collection.properties").exists()


def test_every_reader_gives_the_same_objects(done: tuple[Path, dict[str, Any]]) -> None:
    folder, names = done
    expected = sorted(names["bright"]["object_id"].tolist())
    assert len(expected) > 20
    assert sorted(names["by_pandas"].object_id) == expected
    assert sorted(names["by_polars"]["object_id"]) == expected
    assert sorted(names["by_duckdb"]["object_id"]) == expected
    tile = catalogs.open(folder / "embeddings").table(where=f'tile == "{names["by_astropy"]["tile"][0]}"')
    for column in ("ra", "mag_r", "flux_radius"):
        assert np.array_equal(names["by_astropy"][column], tile[column], equal_nan=True)
        assert names["by_astropy"][column].unit == tile[column].unit


def test_fits_and_votable_carry_units_ucds_and_vectors(done: tuple[Path, dict[str, Any]]) -> None:
    folder, names = done
    everything = names["everything"]
    document = votable.parse(folder / "objects.vot", verify="exception")
    assert votable.validate(folder / "objects.vot", output=None) in (True, None) or document.version
    fields = {field.name: field for field in document.get_first_table().fields}
    assert (fields["ra"].unit, fields["ra"].ucd) == ("deg", "pos.eq.ra;meta.main")
    for read in (Table.read(folder / "objects.fits"), document.get_first_table().to_table()):
        assert np.array_equal(np.asarray(read["embedding"]), everything["embedding"])
        assert np.array_equal(np.asarray(read["object_id"]), everything["object_id"])
        assert read["mag_r"].unit == "mag"


def test_stilts_reads_fits_and_votable_with_units_and_ucds(done: tuple[Path, dict[str, Any]]) -> None:
    if shutil.which("stilts") is None:
        pytest.skip("STILTS is not installed (Debian: apt install stilts)")
    folder, names = done

    def stilts(*words: str) -> str:
        return subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout

    for command in next(code for language, code in blocks() if language == "stilts").splitlines():
        stilts(*shlex.split(command))
    order = np.argsort(names["bright"]["object_id"])
    for name in ("bright.csv", "bright-too.csv"):
        read = Table.read(folder / name)
        read.sort("object_id")
        assert np.array_equal(read["object_id"], names["bright"]["object_id"][order])
        for column, tolerance in (("ra", 1e-9), ("dec", 1e-9), ("mag_r", 1e-5)):
            assert np.allclose(read[column], names["bright"][column][order], rtol=0, atol=tolerance)
    for name in ("objects.fits", "objects.vot"):
        described = ("stilts", "tpipe", f"in={name}", "cmd=meta Name Units UCD Description Shape", "ofmt=csv")
        rows = {row["Name"]: row for row in csv.DictReader(io.StringIO(stilts(*described)))}
        assert (rows["ra"]["Units"], rows["ra"]["UCD"]) == ("deg", "pos.eq.ra;meta.main")
        assert rows["dec"]["Description"] == "Declination, ICRS"
        assert rows["embedding"]["Shape"] == f"({names['everything']['embedding'].shape[1]})"
    assert stilts("stilts", "votlint", "objects.vot").strip() == ""


def test_searches_in_sql_and_polars_agree_with_scanner(done: tuple[Path, dict[str, Any]]) -> None:
    folder, names = done
    catalogue = catalogs.open(folder / "embeddings")
    by_sql = names["answers"][0]
    asked = int(by_sql["object_id"][0])
    expected = catalogue.neighbours(object_id=asked, k=10, columns=["object_id"])
    assert np.isin(expected["object_id"], by_sql["object_id"]).all()
    assert np.allclose(np.sort(by_sql["similarity"])[::-1], by_sql["similarity"])
    assert np.allclose(names["nearest"]["similarity"].to_numpy(), by_sql["similarity"], atol=2e-3)
    assert np.isin(expected["object_id"], names["nearest"]["object_id"].to_numpy()).all()


def test_the_map_and_the_archive_hold_every_object_once(done: tuple[Path, dict[str, Any]]) -> None:
    folder, names = done
    primary = np.sort(catalogs.open(folder / "embeddings").table(["object_id"], where="is_primary")["object_id"])
    assert np.array_equal(np.sort(names["placed"]["object_id"]), primary)
    assert np.array_equal(np.sort(names["answers"][1]["object_id"]), primary)
    assert np.array_equal(np.sort(names["with_vectors"]["object_id"]), primary)
    assert len(names["around"]) >= 1
    assert len(names["matched"]) == len(names["bright"])
    assert (names["matched"]["object_id"] == names["matched"]["object_id_found"]).all()


def test_publishing_over_something_is_refused_and_said_as_json(
    scanner: Scanner, catalogue: Path, tmp_path: Path
) -> None:
    done = scanner("publish", tmp_path / "new", "--catalog", catalogue, "--format", "json", "--all-rows")
    assert done.code == 0, done.err
    assert f'"rows": {len(catalogs.open(catalogue).table())}' in done.out
    again = scanner("publish", tmp_path / "new", "--catalog", catalogue)
    assert again.code == 1
    assert "publish.not_empty" in again.err


def test_cutouts_are_placed_on_the_map(scanner: Scanner, catalogue: Path, field: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra [maps]")
    copy = shutil.copytree(catalogue, tmp_path / "embeddings")
    command = ("map", "--method", "pca", "--catalog", copy, "--where", 'is_primary and tile == "200.292" and snr > 60')
    done = scanner(*command, "--root", field, "--cutouts", tmp_path / "map.png")
    assert done.code == 0, done.err
    picture = np.asarray(Image.open(tmp_path / "map.png").convert("RGB"))
    colourful = (picture.max(axis=2).astype(int) - picture.min(axis=2)) > 60
    assert colourful.sum() > 500
    assert scanner("map", "--catalog", copy, "--cutouts", tmp_path / "x.png").code == 2
