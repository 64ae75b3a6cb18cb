"""``scanner evaluate-ranking --injected``: the truth of a table, its report and its figure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from PIL import Image

import catalogs
from catalogs.errors import ScannerError
from scanner.cli import main
from scanner.queries import completeness_report
from scanner.sources.truth_table import read_truth
from tests.support import catalogue_rows
from tests.support.catalogue_rows import SCORED_RUN

PROPERTIES = ["theta_e", "snr", "host_mag_r", "seeing", "source_mag_r"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tile of 2,000 objects, of which 200 are lenses with a score that grows with their Einstein radius."""
    where = tmp_path_factory.mktemp("injected")
    rng = np.random.default_rng(0)
    filled = catalogs.create(where / "embeddings", SCORED_RUN)
    ra, dec = rng.uniform(10, 11, 2000), rng.uniform(0, 0.5, 2000)
    is_lens, theta_e = np.arange(2000) < 200, rng.uniform(0.5, 2.5, 2000)
    score = rng.normal(-5, 1, 2000) + np.where(is_lens, 3 * (theta_e - 0.5), 0)
    rows = catalogue_rows.make(1, ra, dec, score_lens=score.astype(np.float32))
    rows["embedding"][:200, 0] += 3
    rows["embedding"] /= np.linalg.norm(rows["embedding"], axis=1, keepdims=True)
    catalogue_rows.write(filled, "200.180", rows, SCORED_RUN)
    truth = Table({"tile": ["200.180"] * 200, "ra": ra[:200], "dec": dec[:200], "theta_e": theta_e[:200]})
    truth["snr"], truth["host_mag_r"] = rng.lognormal(3, 0.8, 200), rng.normal(20, 1, 200)
    truth["seeing"], truth["source_mag_r"] = rng.choice([0.6, 0.7, 0.8], 200), rng.normal(24, 0.7, 200)
    truth["theta_e"].unit = "arcsec"
    truth.write(where / "truth.ecsv")
    truth.write(where / "truth.csv")
    truth.write(where / "truth.parquet")
    truth[:10].write(where / "like.csv")
    return where


def run(folder: Path, *words: str | Path) -> tuple[int, str, str]:
    command = ["evaluate-ranking", "--catalog", folder / "embeddings", *words]
    done = CliRunner().invoke(main, list(map(str, command)))
    return done.exit_code, done.stdout, done.stderr


def test_the_report_has_the_numbers_and_the_figure(folder: Path, tmp_path: Path) -> None:
    words = ["--injected", folder / "truth.ecsv", "--threshold", "-3"]
    code, printed, _ = run(folder, *words, "--out", tmp_path / "out", "-f", "json")
    assert code == 0
    report = json.loads(printed)
    assert report == json.loads((tmp_path / "out" / "completeness.json").read_text())
    stored = catalogs.open(folder / "embeddings").table(["score_lens"])["score_lens"]
    here = report["threshold"]
    assert (here["completeness"]["found"], here["others"]) == ((stored[:200] >= -3).sum(), (stored[200:] >= -3).sum())
    assert here["per_degree"] == pytest.approx(here["others"] / 0.5, rel=0.01)
    assert list(report["bins"]) == PROPERTIES
    shares = [one["found"]["value"] for one in report["bins"]["theta_e"]]
    assert shares[0] < 0.2 < 0.9 < shares[-1]
    assert all(one["found"]["low"] <= one["found"]["value"] <= one["found"]["high"] for one in report["bins"]["snr"])
    assert [one["completeness"]["value"] for one in report["thresholds"]] == sorted(
        one["completeness"]["value"] for one in report["thresholds"]
    )
    assert Image.open(tmp_path / "out" / "completeness.png").size[0] > 1000
    text = run(folder, *words)[1]
    assert f"{here['completeness']['value']:.3f}" in text
    assert "200 injected lenses, ranked by score" in text


def test_each_lens_has_a_row_beside_its_truth(folder: Path, tmp_path: Path) -> None:
    truth = Table.read(folder / "truth.ecsv")
    truth["kind"], truth["score"], truth["z"] = ["galaxy", "quasar"] * 100, np.arange(200), np.linspace(0.2, 1, 200)
    truth["tile"][7] = "999.999"  # a tile that the catalogue does not have
    truth["ra"][11] = 10.5
    truth["dec"][11] = 0.6  # where there is no object
    truth.write(tmp_path / "truth.ecsv")
    words = ["--injected", tmp_path / "truth.ecsv", "--threshold", "-3", "--out", tmp_path / "out", "-f", "json"]
    report = json.loads(run(folder, *words)[1])
    lenses = Table.read(tmp_path / "out" / "lenses.ecsv")
    names = ["truth_score" if name == "score" else name for name in truth.colnames]
    assert lenses.colnames == [*names, "object_id", "detected", "score", "found"]
    there = np.delete(np.arange(200), 7)
    assert lenses["truth_score"].tolist() == there.tolist()
    assert lenses["kind"].tolist() == truth["kind"][there].tolist()
    assert lenses["tile"].tolist() == ["200.180"] * 199
    assert lenses["theta_e"].unit == "arcsec"
    np.testing.assert_array_equal(lenses["z"], truth["z"][there])
    assert lenses["found"].dtype == lenses["detected"].dtype == bool
    assert lenses["found"].sum() == report["threshold"]["completeness"]["found"]
    assert lenses["detected"].sum() == report["detected"]["found"] == 198
    (gone,) = np.flatnonzero(~lenses["detected"])
    assert there[gone] == 11
    assert lenses["object_id"].mask.nonzero()[0].tolist() == [gone]
    assert np.isnan(lenses["score"][gone])
    assert not lenses["found"][gone]
    stored = catalogs.open(folder / "embeddings").table(["object_id", "score_lens"])[:200]
    seen = np.delete(np.arange(200), [7, 11])
    assert np.delete(np.asarray(lenses["object_id"]), gone).tolist() == stored["object_id"][seen].tolist()
    np.testing.assert_array_equal(np.delete(np.asarray(lenses["score"]), gone), stored["score_lens"][seen])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_rows_of_lenses_come_from_every_format(folder: Path, tmp_path: Path, ending: str) -> None:
    run(folder, "--injected", folder / f"truth.{ending}", "--out", tmp_path / "out")
    lenses = Table.read(tmp_path / "out" / "lenses.ecsv")
    np.testing.assert_allclose(lenses["snr"], Table.read(folder / "truth.ecsv")["snr"])


def test_a_level_that_the_area_cannot_measure_is_refused(folder: Path, tmp_path: Path) -> None:
    words = ["--injected", folder / "truth.ecsv", "--where", "dec < 0.1 and ra < 10.1", "--out", tmp_path / "out"]
    code, printed, error = run(folder, *words, "--per-degree", "30")
    assert (code, printed) == (1, "")
    assert "rank.no_ordinary" in error
    assert "smallest level that this area can measure" in error
    assert not (tmp_path / "out").exists()


def test_counts_of_others_have_an_interval(folder: Path) -> None:
    words = ["--injected", folder / "truth.ecsv", "--threshold", "-3"]
    here = json.loads(run(folder, *words, "-f", "json")[1])["threshold"]
    assert 0 < here["per_degree_low"] < here["per_degree"] < here["per_degree_high"]
    interval = f"[{here['per_degree_low']:,.3g}, {here['per_degree_high']:,.3g}]"
    assert f"{here['per_degree']:,.4g} {interval}  <" in run(folder, *words)[1]


def test_objects_of_known_lenses_are_left_out(folder: Path, tmp_path: Path) -> None:
    stored = catalogs.open(folder / "embeddings").table(["ra", "dec", "score_lens"])[200:]
    highest = stored[np.argsort(stored["score_lens"])[-30:]]
    highest["ra", "dec"].write(tmp_path / "mine.csv")
    words = ["--injected", folder / "truth.ecsv", "--threshold", "-3", "-f", "json"]
    before, after = (json.loads(run(folder, *words, *more)[1]) for more in ([], ["--known", tmp_path / "mine.csv"]))
    assert after["known"] == before["known"] + 30
    assert after["others"] == before["others"] - 30
    assert after["threshold"]["others"] == max(before["threshold"]["others"] - 30, 0)
    assert after["threshold"]["completeness"] == before["threshold"]["completeness"]
    text = run(folder, *words[:-2], "--known", tmp_path / "mine.csv")[1]
    assert f"beside {after['known']} of known lenses" in text
    code, _, told = run(folder, "--truth", folder / "truth.csv", "--known", tmp_path / "mine.csv")
    assert code == 2
    assert "--known needs --injected" in told


def test_any_method_and_any_column_may_rank(folder: Path) -> None:
    for words, name in (
        (["--method", "probe", "--like", folder / "like.csv"], "probe"),
        (["--like", folder / "like.csv"], "fused"),
        (["--column", "snr"], "snr"),
    ):
        code, printed, _ = run(folder, "--injected", folder / "truth.csv", *words, "--per-degree", "20", "-f", "json")
        assert code == 0
        report = json.loads(printed)
        assert report["ranked_by"] == name
        assert report["threshold"]["others"] == round(20 * report["area"]) - 1
    assert json.loads(printed)["threshold"]["completeness"]["value"] < 0.1


def test_every_format_gives_the_same_truth(folder: Path) -> None:
    one, two, three = (read_truth(folder / f"truth.{ending}") for ending in ("ecsv", "csv", "parquet"))
    for other in (two, three):
        assert list(other.properties) == PROPERTIES
        np.testing.assert_allclose(other.ra, one.ra)
        np.testing.assert_allclose(other.properties["snr"], one.properties["snr"])


@pytest.mark.parametrize(
    ("text", "code", "name"),
    [
        ("ra,dec,theta_e\n1,2,1\n", "sources.no_column", "tile"),
        ("tile,ra,dec\n1.1,1,2\n", "sources.no_column", "theta_e"),
        ("tile,ra,dec,snr\n1.1,1,2,bright\n", "sources.unreadable", "snr"),
        ("tile,x,y,snr\n1.1,1,2,7\n", "sources.no_positions", "ra and dec"),
    ],
)
def test_a_bad_truth_is_named(tmp_path: Path, text: str, code: str, name: str) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(ScannerError) as caught:
        read_truth(path)
    assert caught.value.code == code
    assert name in caught.value.message + caught.value.hint


def test_another_unit_is_refused(folder: Path, tmp_path: Path) -> None:
    truth = Table.read(folder / "truth.ecsv")
    truth["theta_e"].unit = "arcmin"
    truth.write(tmp_path / "truth.ecsv")
    with pytest.raises(ScannerError) as caught:
        read_truth(tmp_path / "truth.ecsv")
    assert caught.value.code == "sources.bad_unit"
    assert "theta_e" in caught.value.message


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--truth", "truth.csv", "--injected", "truth.csv"],
        ["--truth", "truth.csv", "--threshold", "1"],
        ["--injected", "truth.csv", "--threshold", "1", "--per-degree", "5"],
        ["--injected", "truth.csv", "--method", "score", "--column", "snr"],
    ],
)
def test_options_that_do_not_go_together_are_refused(folder: Path, words: list[str]) -> None:
    code, printed, error = run(folder, *(str(folder / word) if word.endswith(".csv") else word for word in words))
    assert (code, printed) == (2, "")
    assert "Usage" in error


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("option", ["--threshold", "--per-degree"])
def test_numbers_that_are_not_finite_are_refused(folder: Path, option: str, value: str) -> None:
    code, printed, error = run(folder, "--injected", folder / "truth.csv", option, value)
    assert (code, printed) == (2, "")
    assert option in error


@pytest.mark.parametrize("value", ["0", "-5"])
def test_a_number_a_square_degree_is_positive(folder: Path, value: str) -> None:
    code, printed, error = run(folder, "--injected", folder / "truth.csv", "--per-degree", value)
    assert (code, printed) == (2, "")
    assert "--per-degree" in error


@pytest.mark.parametrize(
    "wrong", [{"threshold": float("nan")}, {"threshold": float("inf")}, {"per_degree": float("nan")}, {"per_degree": 0}]
)
def test_the_library_refuses_such_numbers_before_it_reads_rows(
    folder: Path, wrong: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completeness_report, "search", None)
    snapshot = catalogs.open(folder / "embeddings").snapshot()
    with pytest.raises(ValueError, match="finite"):
        completeness_report.measure_completeness(snapshot, read_truth(folder / "truth.csv"), **wrong)  # type: ignore[arg-type]


def test_one_object_has_no_area(folder: Path) -> None:
    object_id = catalogs.open(folder / "embeddings").table(["object_id"])["object_id"][300]
    code, printed, error = run(folder, "--injected", folder / "truth.csv", "--where", f"object_id == {object_id}")
    assert (code, printed) == (1, "")
    assert "rank.no_ordinary" in error


def test_an_unknown_column_is_named(folder: Path) -> None:
    code, _, error = run(folder, "--injected", folder / "truth.csv", "--column", "tile")
    assert code == 1
    assert "column.unknown" in error
