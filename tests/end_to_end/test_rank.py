"""Ranking, judging it and looking for outliers, as a user types it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from PIL import Image

import catalogs
from catalogs.errors import ScannerError
from scanner.queries import examples, query
from tests.end_to_end.conftest import Scanner
from tests.support import catalogue_rows


@pytest.fixture(scope="module")
def objects(catalogue: Path) -> Table:
    """Primary objects, highest signal to noise first, each 6 arcsec and more from those before it."""
    found = catalogs.open(catalogue).table(where="is_primary")
    return found[np.argsort(-found["snr"])]


def listed(path: Path, rows: Table, *more: str, **columns: list[str]) -> Path:
    """A CSV of positions."""
    lines = [",".join(["ra", "dec", *columns])]
    for number, row in enumerate(rows):
        lines.append(",".join([str(row["ra"]), str(row["dec"]), *(values[number] for values in columns.values())]))
    path.write_text("\n".join([*lines, *more]) + "\n")
    return path


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_examples_rank_the_catalogue(
    scanner: Scanner, catalogue: Path, field: Path, objects: Table, tmp_path: Path
) -> None:
    some = objects[:3]
    like, picture = listed(tmp_path / "like.csv", some, "10.0,-20.0", "nan,5"), tmp_path / "gallery.png"
    done = scanner(
        "rank", "--like", like, "--catalog", catalogue, "-k", 8, "-f", "csv", "--root", field, "--gallery", picture
    )
    assert done.code == 0, done.err
    found = rows_of(done.out)
    assert len(found) == 8
    for row in found:  # an example, or a piece of one
        away = np.hypot(
            (some["ra"] - float(row["ra"])) * np.cos(np.radians(some["dec"])), some["dec"] - float(row["dec"])
        )
        assert (row["known"] == "True") == bool(away.min() * 3600 <= 3)
    assert "True" in {row["known"] for row in found}
    assert {row["nearest_example"] for row in found} <= {"like.csv:1", "like.csv:2", "like.csv:3"}
    assert "3 objects, 2 positions are no example" in done.err
    assert "like.csv:4 at 10.000000 -20.000000 [query.outside_coverage]" in done.err
    assert "like.csv:5 at nan +5.000000 [sky.out_of_range]" in done.err
    assert Image.open(picture).size[0] > 500


def test_no_example_in_the_catalogue_is_exit_code_1(scanner: Scanner, catalogue: Path, tmp_path: Path) -> None:
    done = scanner("rank", "--like", listed(tmp_path / "like.csv", [], "10.0,-20.0"), "--catalog", catalogue)
    assert (done.code, done.out) == (1, "")
    assert "rank.no_example" in done.err


def test_two_rounds_of_marking(scanner: Scanner, catalogue: Path, objects: Table, tmp_path: Path) -> None:
    """rank writes, a person fills the column mark, rank reads: known and judged objects are not shown again."""
    like, first, second = listed(tmp_path / "like.csv", objects[:5]), tmp_path / "1.csv", tmp_path / "2.csv"
    command = ("rank", "--like", like, "--catalog", catalogue, "-k", 6, "-f", "csv")
    assert scanner(*command, "--next", "best", "-o", first).code == 0
    rows = rows_of(first.read_text())
    assert {row["mark"] for row in rows} == {""}
    for row, word in zip(rows, ("kept", "rejected", "", "kept", "rejected", ""), strict=True):
        row["mark"] = word
    with first.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    done = scanner(*command, "--feedback", first, "--next", "uncertain", "-o", second)
    assert done.code == 0, done.err
    assert "Feedback: 2 kept, 2 rejected" in done.err
    assert "7 examples, 2 counterexamples" in done.err
    judged = {row["object_id"] for row in rows if row["mark"]}
    assert not judged & {row["object_id"] for row in rows_of(second.read_text())}
    bad = tmp_path / "bad.csv"
    bad.write_text("ra,dec,mark\n1,2,marvellous\n")
    done = scanner(*command, "--feedback", bad)
    assert (done.code, done.out) == (1, "")
    assert "feedback.bad_mark" in done.err
    assert "line 2" in done.err


def test_augment_takes_the_images(scanner: Scanner, catalogue: Path, objects: Table, tmp_path: Path) -> None:
    like = listed(tmp_path / "like.csv", objects[:3])
    done = scanner("rank", "--like", like, "--catalog", catalogue, "--augment")
    assert (done.code, done.out) == (2, "")
    assert "--root" in done.err
    (tmp_path / "empty").mkdir()
    done = scanner("rank", "--like", like, "--catalog", catalogue, "--augment", "--root", tmp_path / "empty")
    assert (done.code, done.out) == (1, "")
    assert "rank.no_pixels" in done.err
    assert "like.csv:" in done.err


def test_turned_examples_have_eight_vectors_the_first_as_catalogued(
    catalogue: Path, field: Path, model: Path, objects: Table, tmp_path: Path
) -> None:
    opened = catalogs.open(catalogue)
    builder = query.QueryBuilder(opened.snapshot(), root=field, model=str(model), device="cpu")
    like = listed(tmp_path / "like.csv", objects[:4])
    plain, turned = (examples.read(like, builder, augment=augment) for augment in (False, True))
    assert turned.object_id.tolist() == plain.object_id.tolist()
    assert np.bincount(turned.owner).tolist() == [8] * 4
    first = turned.vectors[::8]
    assert (first * plain.vectors).sum(axis=1).min() > 0.999  # stored with 10 bits
    assert not np.allclose(turned.vectors[1], turned.vectors[0], atol=1e-3)


def test_a_spot_without_an_object_is_embedded_where_its_tile_is(
    catalogue: Path, field: Path, model: Path, objects: Table, tmp_path: Path
) -> None:
    opened = catalogs.open(catalogue)
    row = objects[objects["tile"] == "200.292"][0]
    empty = float(row["dec"]) + 4.5 / 3600
    lone = not len(opened.cone(float(row["ra"]), empty, 3.0))
    like = listed(tmp_path / "like.csv", [], f"{row['ra']},{empty}", "10.0,-20.0", f"{row['ra']},{row['dec']}")
    without = examples.read(like, query.QueryBuilder(opened.snapshot()))
    found = examples.read(like, query.QueryBuilder(opened.snapshot(), root=field, model=str(model), device="cpu"))
    assert len(found) == len(without) + lone
    if lone:
        assert sorted(found.object_id.tolist())[0] == -1
        assert [one.name for one in found.unmatched] == ["like.csv:2"]
        assert examples.describe_examples(like, found)[0].endswith(
            "1 objects, 1 spots embedded now, 1 positions are no example"
        )
        assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_another_model_is_refused(catalogue: Path, field: Path, objects: Table, tmp_path: Path) -> None:
    opened = catalogs.open(catalogue)
    builder = query.QueryBuilder(opened.snapshot(), root=field, model="small", device="cpu")
    with pytest.raises(ScannerError) as caught:
        examples.read(listed(tmp_path / "like.csv", objects[:1]), builder, augment=True)
    assert caught.value.code == "catalogue.other_model"


def test_an_evaluation_prints_draws_and_writes(
    scanner: Scanner, catalogue: Path, objects: Table, tmp_path: Path
) -> None:
    words = ["lens" if number < 12 else "star" for number in range(20)]
    truth = listed(tmp_path / "truth.csv", objects[:20], "10.0,-20.0,lens", label=words)
    command = ("evaluate-ranking", "--truth", truth, "--label", "lens", "--catalog", catalogue, "--examples", 4)
    done = scanner(*command, "--draws", 3, "-k", 5, "-k", 20, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert "; 3 draws of 4 examples, with " in lines[0]
    assert lines[2].split() == ["centroid", "nearest", "probe", "magnitude", "chance"]
    assert [line.split()[0] for line in lines[3:]] == [
        "mAP", "nDCG@10", "recall@5", "recall@20", "purity@5", "purity@20",
    ]  # fmt: skip
    assert "1 positions are no example" in done.err
    written = json.loads((tmp_path / "out" / "ranking.json").read_text())
    assert (written["examples"], written["draws"], written["positions_without_object"]) == (4, 3, 1)
    assert written["lenses"] + written["lenses_not_ranked"] <= 12
    for found in written["measures"]["probe"].values():
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
    recall = [point["value"] for point in written["curve"]["recall"]["nearest"]]
    assert recall == sorted(recall)
    assert recall[-1] == 1
    assert Image.open(tmp_path / "out" / "curve.png").size == (900, 600)
    same = json.loads(scanner(*command, "--draws", 3, "-k", 5, "-k", 20, "-f", "json").out)
    assert same == written


def test_an_evaluation_without_enough_lenses_says_so(
    scanner: Scanner, catalogue: Path, objects: Table, tmp_path: Path
) -> None:
    truth = listed(tmp_path / "truth.csv", objects[:3])
    done = scanner("evaluate-ranking", "--truth", truth, "--catalog", catalogue)
    assert (done.code, done.out) == (1, "")
    assert "rank.few_lenses" in done.err
    done = scanner("evaluate-ranking", "--truth", truth, "--label", "lens", "--catalog", catalogue)
    assert done.code == 1
    assert "sources.no_column" in done.err
    labelled = listed(tmp_path / "labelled.csv", objects[:3], label=["star", "lens", "star"])
    done = scanner("evaluate-ranking", "--truth", labelled, "--label", "lenses", "--catalog", catalogue)
    assert done.code == 1
    assert "Its labels are lens, star." in done.err


def test_outliers_are_listed_and_drawn(scanner: Scanner, catalogue: Path, field: Path, tmp_path: Path) -> None:
    picture = tmp_path / "outliers.png"
    done = scanner(
        "outliers", "-k", 5, "--catalog", catalogue, "-f", "csv", "--root", field, "--gallery", picture,
        "--where", "valid_fraction > 0.5",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = rows_of(done.out)
    assert [row["rank"] for row in found] == ["1", "2", "3", "4", "5"]
    assert all(float(row["distance"]) > 0 and 0 <= float(row["rarer_than"]) <= 1 for row in found)
    assert Image.open(picture).size[0] > 500
    done = scanner("outliers", "--catalog", catalogue, "--where", "snr > 1e9")
    assert (done.code, done.out) == (1, "")
    assert "outliers.few_objects" in done.err


@pytest.mark.parametrize("command", ["rank", "evaluate-ranking", "outliers"])
def test_help_has_an_example(scanner: Scanner, command: str) -> None:
    done = scanner(command, "--help")
    assert done.code == 0
    assert f"scanner {command} " in done.out.partition("Examples:")[2]


def test_ranking_without_examples_needs_a_lens_score(scanner: Scanner, catalogue: Path) -> None:
    for words, code in ((["--method", "score"], "rank.no_score"), ([], "rank.no_example")):
        done = scanner("rank", "--catalog", catalogue, *words)
        assert (done.code, done.out) == (1, "")
        assert code in done.err


def test_a_catalogue_with_a_lens_score_is_ranked_by_it(scanner: Scanner, tmp_path: Path) -> None:
    filled = catalogs.create(tmp_path / "embeddings", catalogue_rows.SCORED_RUN)
    score = np.random.default_rng(0).normal(-5, 2, 60).astype(np.float32)
    rows = catalogue_rows.make(1, 10 + 0.01 * np.arange(60), np.full(60, 30.0), score_lens=score)
    catalogue_rows.write(filled, "001.240", rows, catalogue_rows.SCORED_RUN)
    done = scanner("rank", "--catalog", filled.path, "-k", 3, "-f", "csv")
    assert done.code == 0, done.err
    assert [float(row["score_lens"]) for row in rows_of(done.out)] == pytest.approx(np.sort(score)[:-4:-1].tolist())
    truth = listed(tmp_path / "truth.csv", filled.table()[np.argsort(-score)[:12]])
    done = scanner("evaluate-ranking", "--catalog", filled.path, "--truth", truth, "--examples", 3, "-f", "json")
    assert done.code == 0, done.err
    measured = json.loads(done.out)["measures"]
    assert list(measured) == ["centroid", "nearest", "probe", "score", "fused", "magnitude", "chance"]
    assert measured["score"]["mAP"]["value"] == 1
