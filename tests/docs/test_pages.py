"""Every Python block of every page is run, page by page and in order, beside a catalogue of the demo tile.

SQL blocks are run by DuckDB, and shell blocks that are marked with ``<!-- run -->`` are run too. The command of a block
with ``<!-- run server -->`` runs until the end of its page.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import votable
from astropy.table import Table
from PIL import Image

import catalogs
import scanner
from tests.docs.pages import PAGES, REPOSITORY, blocks, name
from tests.support.served import PROGRAM, SERVER, serve

DEMO = REPOSITORY / "scanner" / "demo"
MAPS = REPOSITORY / "docs" / "guide" / "maps-and-archives.md"
WITH_PYTHON = [page for page in PAGES if any(block.language in ("python", "sql") for block in blocks(page))]
ELSEWHERE = {"lenses.md": "test_lenses.py", "team.md": "test_team_guide.py", "whole-search.md": "test_whole_search.py"}
"""Pages that a module of their own runs."""

pytestmark = pytest.mark.filterwarnings("ignore")

Names = dict[str, Any]
Run = Callable[[Path], tuple[Path, Names]]


def run_command(*arguments: object, cwd: Path) -> None:
    subprocess.run([*PROGRAM, *map(str, arguments)], check=True, cwd=cwd)


def run_line(line: str, folder: Path) -> None:
    """Run a line as a shell does: a program, its words, and ``> FILE`` at the end."""
    typed, _, file = line.partition(" > ")
    name, *words = shlex.split(typed)
    command = [*{"scanner": PROGRAM, "python": [sys.executable]}[name], *words]
    printed = subprocess.run(command, check=True, cwd=folder, text=True, stdout=subprocess.PIPE if file else None)
    if file:
        (folder / file).write_text(printed.stdout)


@pytest.fixture(scope="module")
def demo_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue of the tile that comes with the package."""
    folder = tmp_path_factory.mktemp("demo")
    run_command("scan-tiles", "--tiles", DEMO / "list.txt", "--root", DEMO, cwd=folder)
    run_command("index", cwd=folder)
    return folder / "embeddings"


@pytest.fixture(scope="module")
def run(demo_catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a page once; gives its folder and the names that it defined, with answers to SQL under ``answers``."""
    import duckdb
    import matplotlib

    matplotlib.use("Agg")
    ran: dict[Path, tuple[Path, Names]] = {}

    def run_page(page: Path) -> tuple[Path, Names]:
        if page in ran:
            return ran[page]
        folder = tmp_path_factory.mktemp(page.stem)
        if "scan_tiles(" not in page.read_text(encoding="utf-8"):  # other pages make the catalogue themselves
            shutil.copytree(demo_catalogue, folder / "embeddings")
        shutil.copytree(DEMO, folder / "tiles")
        shutil.copy(DEMO / "list.txt", folder)
        names: Names = {"answers": []}
        with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as servers:
            patch.chdir(folder)
            address = SERVER
            for block in blocks(page):
                if block.language == "python":
                    # Empty lines in front: a traceback then points at the line of the page.
                    text = "\n" * block.line + block.text.replace(SERVER, address)
                    exec(compile(text, name(page), "exec"), names)
                elif block.language == "sql":
                    names["answers"].append(duckdb.sql(block.text).fetchnumpy())
                elif block.mark == "run":
                    for line in block.text.splitlines():
                        run_line(line, folder)
                elif block.mark == "run server":
                    address = servers.enter_context(serve(shlex.split(block.text)[1:], folder, os.environ))
        ran[page] = folder, names
        return ran[page]

    return run_page


def test_pages_that_are_left_out_here_are_run_elsewhere() -> None:
    for page, module in ELSEWHERE.items():
        assert f'"{page}"' in Path(__file__).with_name(module).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in WITH_PYTHON if page.name not in ELSEWHERE], ids=name)
def test_every_block_runs(run: Run, page: Path) -> None:
    _, names = run(page)
    assert len(names) > 1


def test_the_survey_file_of_the_reference_is_read(tmp_path: Path) -> None:
    (block,) = (one for one in blocks(REPOSITORY / "docs" / "reference" / "survey-file.md") if one.language == "toml")
    path = tmp_path / "mine.toml"
    path.write_text(block.text)
    survey = scanner.load_survey(path)
    assert survey.band_names == ("r", "g")
    assert survey.read_file_name("AB_007_g.fits") == ("g", {"field": "AB", "number": 7})


def test_the_guide_ends_in_a_plot_a_map_and_an_archive(run: Run) -> None:
    folder, _ = run(MAPS)
    for picture in ("plot.png", "tsne.png"):
        image = np.asarray(Image.open(folder / picture).convert("RGB"))
        assert image.shape[0] > 300
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 100
    assert (folder / "archive" / "collection.properties").exists()


def test_every_reader_gives_the_same_objects(run: Run) -> None:
    folder, names = run(MAPS)
    expected = sorted(names["bright"]["object_id"].tolist())
    assert len(expected) > 20
    assert sorted(names["by_pandas"].object_id) == expected
    assert sorted(names["by_polars"]["object_id"]) == expected
    assert sorted(names["by_duckdb"]["object_id"]) == expected
    tile = catalogs.open(folder / "embeddings").table(where=f'tile == "{names["by_astropy"]["tile"][0]}"')
    for column in ("ra", "mag_r", "flux_radius"):
        assert np.array_equal(names["by_astropy"][column], tile[column], equal_nan=True)
        assert names["by_astropy"][column].unit == tile[column].unit


def test_fits_and_votable_carry_units_ucds_and_embeddings(run: Run) -> None:
    folder, names = run(MAPS)
    everything = names["everything"]
    document = votable.parse(folder / "objects.vot", verify="exception")
    fields = {field.name: field for field in document.get_first_table().fields}
    assert (fields["ra"].unit, fields["ra"].ucd) == ("deg", "pos.eq.ra;meta.main")
    for read in (Table.read(folder / "objects.fits"), document.get_first_table().to_table()):
        assert np.array_equal(np.asarray(read["embedding"]), everything["embedding"])
        assert np.array_equal(np.asarray(read["object_id"]), everything["object_id"])
        assert read["mag_r"].unit == "mag"


def test_stilts_reads_fits_and_votable_with_units_and_ucds(run: Run) -> None:
    if shutil.which("stilts") is None:
        pytest.skip("STILTS is not installed (Debian: apt install stilts)")
    folder, names = run(MAPS)

    def stilts(*words: str) -> str:
        return subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout

    for command in next(block.text for block in blocks(MAPS) if block.mark == "run by stilts").splitlines():
        stilts(*shlex.split(command))
    order = np.argsort(names["bright"]["object_id"])
    for file in ("bright.csv", "bright-too.csv"):
        read = Table.read(folder / file)
        read.sort("object_id")
        assert np.array_equal(read["object_id"], names["bright"]["object_id"][order])
        for column, tolerance in (("ra", 1e-9), ("dec", 1e-9), ("mag_r", 1e-5)):
            assert np.allclose(read[column], names["bright"][column][order], rtol=0, atol=tolerance)
    for file in ("objects.fits", "objects.vot"):
        described = ("stilts", "tpipe", f"in={file}", "cmd=meta Name Units UCD Description Shape", "ofmt=csv")
        rows = {row["Name"]: row for row in csv.DictReader(io.StringIO(stilts(*described)))}
        assert (rows["ra"]["Units"], rows["ra"]["UCD"]) == ("deg", "pos.eq.ra;meta.main")
        assert rows["dec"]["Description"] == "Declination, ICRS"
        assert rows["embedding"]["Shape"] == f"({names['everything']['embedding'].shape[1]})"
    assert stilts("stilts", "votlint", "objects.vot").strip() == ""


def test_searches_in_sql_and_polars_agree_with_neighbours(run: Run) -> None:
    folder, names = run(REPOSITORY / "docs" / "guide" / "search.md")
    by_sql = names["answers"][0]
    expected = catalogs.open(folder / "embeddings").neighbours(
        object_id=int(by_sql["object_id"][0]), k=10, columns=["object_id"]
    )
    assert np.isin(expected["object_id"], by_sql["object_id"]).all()
    assert np.allclose(np.sort(by_sql["similarity"])[::-1], by_sql["similarity"])
    assert np.allclose(names["nearest"]["similarity"].to_numpy(), by_sql["similarity"], atol=2e-3)
    assert np.isin(expected["object_id"], names["nearest"]["object_id"].to_numpy()).all()


def test_the_map_and_the_archive_hold_every_object_once(run: Run) -> None:
    folder, names = run(MAPS)
    primary = np.sort(catalogs.open(folder / "embeddings").table(["object_id"], where="is_primary")["object_id"])
    assert np.array_equal(np.sort(names["placed"]["object_id"]), primary)
    assert np.array_equal(np.sort(names["answers"][0]["object_id"]), primary)
    assert np.array_equal(np.sort(names["with_embeddings"]["object_id"]), primary)
    assert len(names["around"]) >= 1
    assert len(names["matched"]) == len(names["bright"])
    assert (names["matched"]["object_id"] == names["matched"]["object_id_archive"]).all()
