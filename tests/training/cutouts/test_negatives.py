"""Hard negatives: rejected candidates of an inspection become labelled training cutouts of the same pixels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from scanner.cli.demo import DEMO
from scanner.survey.survey import load
from scanner.windows.by_position import WindowReader
from scanner.windows.frame import WindowFrame
from training.cli.cutouts import cutouts_command
from training.cutouts import shards

HEADER = "object_id,ra,dec,tile,grade,label\n"


def rows(label: str) -> list[tuple[float, float]]:
    with (DEMO / "truth.csv").open(newline="", encoding="utf-8") as file:
        return [(float(row["ra"]), float(row["dec"])) for row in csv.DictReader(file) if row["label"] == label]


def cut(table: Path, out: Path, code: int = 0) -> str:
    done = CliRunner().invoke(cutouts_command, [str(out), "--negatives", str(table), "--root", str(DEMO)])
    assert (done.exit_code != 0) == bool(code), done.output
    return done.output + str(getattr(done.exception, "code", ""))


def test_rejected_objects_are_cut_with_their_kinds(tmp_path: Path) -> None:
    places = rows("lookalike")[:3] or rows("galaxy")[:3]
    kinds = ["spiral", "", "ring"]
    lines = [
        f"{n},{ra},{dec},217.292,X,{kind}\n" for n, ((ra, dec), kind) in enumerate(zip(places, kinds, strict=True))
    ]
    # One that the tile does not hold is left out.
    table = tmp_path / "negatives.csv"
    table.write_text(HEADER + "".join(lines) + "9,10.0,10.0,217.292,X,spiral\n")
    cut(table, tmp_path / "shards")
    (entry,) = shards.load_json(tmp_path / "shards" / shards.MANIFEST)["shards"]
    assert (entry["source"], entry["rows"], entry["split"]) == ("unions-negatives", 3, "train")
    described = pq.read_table(tmp_path / "shards" / "unions-negatives-217.292.parquet").to_pandas()
    assert described.label.tolist() == ["spiral", "lookalike", "ring"]
    assert described.theta_e.isna().all()
    assert np.allclose(described.ra, [ra for ra, _ in places])
    # The pixels are those of the tile at that place, as the scanner cuts them.
    pixels = np.load(tmp_path / "shards" / "unions-negatives-217.292.npy")
    frame = WindowFrame(shards.BANDS, shards.WINDOW, shards.PIXEL_SCALE)
    reader = WindowReader(load("unions"), frame, DEMO)
    for (ra, dec), found in zip(places, pixels, strict=True):
        assert np.allclose(found, reader.of("217.292", ra, dec), equal_nan=True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEADER + "1,194.0,56.0,217.292,A,lens\n", "shards.bad"),
        ("ra,dec\n194.0,56.0\n", "sources.no_column"),
        (HEADER + "1,194.0,56.0,218.292,X,ring\n", "tile.missing_file"),
    ],
)
def test_what_is_no_table_of_negatives_is_refused(tmp_path: Path, text: str, told: str) -> None:
    table = tmp_path / "negatives.csv"
    table.write_text(text)
    assert told in cut(table, tmp_path / "shards", code=1)
