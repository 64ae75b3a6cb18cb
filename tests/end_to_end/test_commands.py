"""The main job as a user types it: what goes to stdout, what to stderr, and which exit code comes back."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image

import catalogs
from tests.end_to_end.conftest import Scanner
from tests.support import small_tiles

COMMANDS = (
    "scan-tiles",
    "index",
    "query",
    "lenses",
    "rank",
    "map",
    "publish",
    "info",
    "demo",
    "serve",
    "hunt",
    "verdicts",
)


@pytest.fixture(scope="module")
def objects(catalogue: Path) -> Table:
    table = catalogs.open(catalogue).table()
    return table[np.argsort(-table["snr"])]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(scanner: Scanner, command: str) -> None:
    listed = scanner("--help")
    done = scanner(command, "--help")
    assert done.code == 0
    assert command in listed.out
    assert f"  scanner {command}" in done.out.split("\n  Example")[-1]


def test_every_command_is_in_the_readme(scanner: Scanner) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert [command for command in COMMANDS if f"scanner {command}" not in readme] == []


def test_a_scan_reports_as_json_and_goes_on_where_it_was(
    scanner: Scanner, model: Path, field: Path, tmp_path: Path
) -> None:
    tiles = tmp_path / "list.txt"
    tiles.write_text("# two tiles\n200.292\n\nCFIS.201.292\n201 292  # again\n")
    command = ("scan-tiles", "--tiles", tiles, "--root", field, "--model", model, "--format", "json")
    first = scanner(*command, cwd=tmp_path)
    second = scanner(*command, cwd=tmp_path)
    assert (first.code, second.code) == (0, 0)
    report = json.loads(first.out)
    assert (report["done"], report["failed"]) == (2, 0)
    assert report["objects"] == len(catalogs.open(tmp_path / "embeddings").table()) > 40
    assert "repeated" in first.err
    assert json.loads(second.out)["skipped"] == 2


def test_one_bad_tile_among_good_ones(scanner: Scanner, model: Path, field: Path, tmp_path: Path) -> None:
    done = scanner(
        "scan-tiles", "--tiles", "-", "--root", field, "--model", model, "--out", tmp_path / "out",
        stdin="200.292\n300.292\n999.999\n201.292\n",
    )  # fmt: skip
    assert done.code == 3
    assert "tile.missing_file" in done.out
    catalogue = catalogs.open(tmp_path / "out")
    assert catalogue.tiles() == ["200.292", "201.292"]
    assert {failure.tile for failure in catalogue.failures()} == {"300.292", "999.999"}


def test_a_query_by_position_finds_neighbours(scanner: Scanner, catalogue: Path, objects: Table) -> None:
    one = objects[0]
    done = scanner("query", "--ra", one["ra"], "--dec", one["dec"], "-k", 5, "--catalog", catalogue, "-f", "csv")
    assert done.code == 0, done.err
    found = rows(done.out)
    assert [row["rank"] for row in found] == ["1", "2", "3", "4", "5"]
    assert str(one["object_id"]) not in {row["object_id"] for row in found}
    assert str(one["object_id"]) in done.err
    similarity = [float(row["similarity"]) for row in found]
    assert similarity == sorted(similarity, reverse=True)


def test_sexagesimal_and_negative_positions_are_understood(scanner: Scanner, catalogue: Path) -> None:
    """Outside the catalogue, so the answer is the error; but of the position that was meant."""
    done = scanner("query", "--ra", "14:00:00", "--dec", "-05:30:00", "--catalog", catalogue)
    assert done.code == 1
    assert "210" in done.err
    assert "-5.5" in done.err
    assert "query.outside_coverage" in done.err
    assert scanner("query", "--ra", "210", "--dec", "-5.5", "--catalog", catalogue).err == done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ra", "10", "--dec", "-91"), "outside -90 to 90"),
        (("--ra", "nan", "--dec", "0"), "within a turn"),
        (("--ra", "-999", "--dec", "0"), "within a turn"),
        (("--ra", "ten", "--dec", "0"), "neither degrees"),
        (("--ra", "10"), "go together"),
        ((), "Give --ra and --dec, --name"),
        (("--ra", "10", "--dec", "0", "--gallery", "x.png"), "--root"),
        (("--ra", "10", "--dec", "0", "-k", "0"), "-k"),
    ],
)
def test_a_bad_command_line_is_exit_code_2(
    scanner: Scanner, catalogue: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = scanner("query", *arguments, "--catalog", catalogue)
    assert done.code == 2
    assert said in done.err
    assert done.out == ""


@pytest.mark.parametrize("fmt", ["table", "csv", "json", "votable", "fits", "ds9"])
def test_every_format_holds_the_same_neighbours(
    scanner: Scanner, catalogue: Path, objects: Table, tmp_path: Path, fmt: str
) -> None:
    path = tmp_path / "answer"
    done = scanner(
        "query", "--id", objects["object_id"][0], "-k", 3, "--catalog", catalogue, "-f", fmt, "-o", path
    )  # fmt: skip
    assert (done.code, done.out) == (0, "")
    wanted = catalogs.open(catalogue).neighbours(object_id=int(objects["object_id"][0]), k=3)["object_id"].tolist()
    readers = {
        "csv": lambda: Table.read(path, format="ascii.csv")["object_id"].tolist(),
        "json": lambda: [row["object_id"] for row in json.loads(path.read_text())],
        "votable": lambda: Table.read(path, format="votable")["object_id"].tolist(),
        "fits": lambda: Table.read(path, format="fits")["object_id"].tolist(),
        "table": lambda: [one for one in wanted if str(one) in path.read_text()],
        "ds9": lambda: wanted if path.read_text().count("circle(") == 3 else [],
    }
    assert readers[fmt]() == wanted


def test_many_positions_at_once(scanner: Scanner, catalogue: Path, objects: Table, tmp_path: Path) -> None:
    """Two objects and a place where there is none: two answers, a warning, exit code 3."""
    listed = tmp_path / "positions.csv"
    listed.write_text("RA,Dec\n" + "".join(f"{row['ra']},{row['dec']}\n" for row in objects[:2]) + "10.0,-20.0\n")
    done = scanner("query", "--positions", listed, "-k", 2, "--catalog", catalogue, "-f", "csv")
    assert done.code == 3
    assert [row["query"] for row in rows(done.out)] == ["1", "1", "2", "2"]
    assert "query.outside_coverage" in done.err


def test_a_table_without_rows_is_said_to_have_none(scanner: Scanner, catalogue: Path, tmp_path: Path) -> None:
    (tmp_path / "positions.csv").write_text("ra,dec\n")
    done = scanner("query", "--positions", tmp_path / "positions.csv", "--catalog", catalogue)
    assert done.code == 2
    assert "has no rows" in done.err


def test_a_filter_restricts_the_answer(scanner: Scanner, catalogue: Path, objects: Table) -> None:
    done = scanner(
        "query", "--id", objects["object_id"][0], "--where", "tile == '202.292' and snr > 20", "--catalog", catalogue,
        "-f", "csv",
    )  # fmt: skip
    found = rows(done.out)
    assert found
    assert {row["tile"] for row in found} == {"202.292"}


def empty_spot(objects: Table, tile: str) -> tuple[float, float]:
    """A position on a tile, more than 5 arcsec from every object."""
    wcs = small_tiles.wcs(tile, 320)
    for x, y in np.ndindex(20, 20):
        ra, dec = wcs.all_pix2world(60 + 10 * x, 60 + 10 * y, 0)
        away = np.hypot((objects["ra"] - ra) * np.cos(np.radians(dec)), objects["dec"] - dec)
        if away.min() * 3600 > 4:
            return float(ra), float(dec)
    raise AssertionError("the tile is full")


def test_a_spot_without_an_object_is_embedded_now(
    scanner: Scanner, catalogue: Path, model: Path, field: Path, objects: Table, tmp_path: Path
) -> None:
    ra, dec = empty_spot(objects, "200.292")
    asked = ("query", "--ra", ra, "--dec", dec, "--catalog", catalogue, "--radius", 1, "-f", "csv")
    without = scanner(*asked)
    assert (without.code, "query.no_object" in without.err) == (1, True)
    done = scanner(*asked, "--root", field, "--model", model, "--gallery", tmp_path / "spot.png")
    assert done.code == 0, done.err
    assert "spot" in done.err
    assert len(rows(done.out)) == 10
    assert Image.open(tmp_path / "spot.png").size[0] > 500


def test_the_window_of_an_object_asked_as_a_cutout_finds_that_object(
    scanner: Scanner, catalogue: Path, model: Path, field: Path, objects: Table, tmp_path: Path
) -> None:
    """A cutout written from the tile's own pixels must embed to the stored vector: similarity 1 with the object."""
    one = next(row for row in objects if row["tile"] == "200.292" and 60 < row["x"] < 250 and 60 < row["y"] < 250)
    planes = [fits.PrimaryHDU()]
    for band in "ugriz":
        with fits.open(small_tiles.band_file(field, "200.292", band)) as hdus:
            image = hdus[1 if band in "gz" else 0]
            x, y = (int(np.floor(float(value))) for value in small_tiles.wcs(
                "200.292", 320, small_tiles.SHIFT_OF_I if band == "i" else 0.0
            ).all_world2pix(one["ra"], one["dec"], 0))  # fmt: skip
            cut = fits.ImageHDU(image.data[y - 40 : y + 41, x - 40 : x + 41], name=band)
            cut.header["PIXSCALE"] = 0.18577
            planes.append(cut)
    fits.HDUList(planes).writeto(tmp_path / "cutout.fits")
    done = scanner(
        "query", "--cutout", tmp_path / "cutout.fits", "--catalog", catalogue, "--model", model, "-k", 1, "-f", "csv"
    )  # fmt: skip
    assert done.code == 0, done.err
    assert rows(done.out)[0]["object_id"] == str(one["object_id"])
    assert float(rows(done.out)[0]["similarity"]) > 0.99


def test_the_gallery_shows_the_query_and_its_neighbours(
    scanner: Scanner, catalogue: Path, field: Path, objects: Table, tmp_path: Path
) -> None:
    picture = tmp_path / "gallery.png"
    done = scanner(
        "query", "--id", objects["object_id"][0], "-k", 7, "--catalog", catalogue, "--root", field, "--gallery", picture
    )  # fmt: skip
    assert done.code == 0, done.err
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    first = pixels[10:170, 10:170]
    assert first[60:100, 60:100].mean() > first[:30, :30].mean()  # an object in the middle of its window


def test_info_tells_of_a_catalogue_and_of_a_model(scanner: Scanner, catalogue: Path, model: Path) -> None:
    told = json.loads(scanner("info", "--catalog", catalogue, "-f", "json").out)
    assert told["tiles"] == 3
    assert told["objects"] == len(catalogs.open(catalogue).table())
    assert told["objects_indexed"] == told["objects"]
    contract = json.loads(scanner("info", "--model", model, "-f", "json").out)
    assert contract["bands"] == list("ugriz")
    assert contract["sha256"] == told["model_sha256"]


def test_the_catalogue_is_found_through_the_environment(scanner: Scanner, catalogue: Path, tmp_path: Path) -> None:
    assert "embeddings" in scanner("info", cwd=tmp_path).err
    assert scanner("info", cwd=tmp_path, SCANNER_CATALOG=str(catalogue)).code == 0


def test_another_model_is_refused_by_scan_and_query(
    scanner: Scanner, catalogue: Path, model: Path, field: Path, objects: Table, tmp_path: Path
) -> None:
    from tests.support import tiny_encoder

    other = tiny_encoder.write(tmp_path / "other.onnx", tiny_encoder.contract(), seed=5)
    scanned = scanner(
        "scan-tiles", "--tiles", "-", "--root", field, "--model", other, "--out", catalogue, stdin="200.292"
    )
    ra, dec = empty_spot(objects, "200.292")
    asked = scanner(
        "query", "--ra", ra, "--dec", dec, "--radius", 1, "--catalog", catalogue, "--root", field, "--model", other
    )  # fmt: skip
    for done in (scanned, asked):
        assert done.code == 1
        assert "catalogue.other_model" in done.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("scan-tiles", "--tiles", "nowhere.txt"), "list.missing"),
        (("scan-tiles", "--tiles", "-", "--survey", "sdss"), "survey.missing"),
        (("scan-tiles", "--tiles", "-", "--model", "huge"), "model.missing"),
        (("scan-tiles", "--tiles", "-"), "list.empty"),
        (("scan-tiles", "--tiles", __file__, "--sources", "nowhere.csv"), "sources.missing"),
        (("index", "--catalog", "nowhere"), "catalogue.missing"),
        (("query", "--ra", "1", "--dec", "2", "--catalog", "nowhere"), "catalogue.missing"),
        (("info", "--model", __file__), "model.unreadable"),
    ],
)
def test_a_bad_set_up_says_its_code_and_what_to_do(
    scanner: Scanner, model: Path, tmp_path: Path, arguments: tuple[str, ...], code: str
) -> None:
    given = arguments if "--model" in arguments or arguments[0] != "scan-tiles" else (*arguments, "--model", model)
    done = scanner(*given, cwd=tmp_path)
    assert done.code == 1
    assert f"[{code}]" in done.err
    assert "Error: " in done.err
    assert "Hint: " in done.err
    assert "Traceback" not in done.err
