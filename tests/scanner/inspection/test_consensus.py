"""Consensus: means, posteriors and alpha of teams whose skill is known, and tables that are made of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from catalogs.errors import ErrorCode, ScannerError
from catalogs.ranking.feedback import read_marks
from scanner.hunt.export import encode
from scanner.hunt.project import Project
from scanner.hunt.scheme import DEFAULT, read_scheme
from scanner.hunt.verdicts import Verdict
from scanner.inspection import eye, tables
from scanner.inspection.consensus import Consensus, nearest_grade
from scanner.inspection.plan import Plan
from scanner.inspection.planning import Wish, make_plan
from scanner.inspection.record import BLIND, CHAIR, FINAL, REVISED
from scanner.inspection.swap import posterior
from tests.support import team_project


def test_a_mean_grade_has_the_error_of_its_graders(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path, candidates=3)
    for name, words in (("ann", "AAX"), ("bob", "AB"), ("cid", "AC")):
        team_project.say(project, name, dict(enumerate(words)))
    consensus = Consensus.of(project)
    assert consensus.mean.tolist() == [3, 2, 0]
    # 3, 2 and 1 have a standard deviation of 1, and their mean an error of 1 / sqrt(3).
    assert consensus.spread[:2].tolist() == [0, 1]
    assert consensus.error[1] == pytest.approx(1 / np.sqrt(3))
    assert np.isnan(consensus.error[2]), "one grader tells nothing of the error"
    assert consensus.by_disagreement().tolist() == [1, 0, 2]
    assert [consensus.grade(index) for index in range(3)] == ["A", "B", "X"]


def test_a_mean_half_way_has_the_lower_grade() -> None:
    scheme = read_scheme(DEFAULT)
    means = {3.0: "A", 2.51: "A", 2.5: "B", 1.51: "B", 1.5: "C", 0.5: "X", 0.0: "X", np.nan: ""}
    assert {mean: nearest_grade(scheme, mean) for mean in means} == means


def test_only_blind_grades_count_and_the_chair_has_the_last_word(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path, candidates=2, chairs=("eve",))
    for name, grade in (("ann", "A"), ("bob", "C")):
        team_project.say(project, name, {0: grade})
    team_project.say(project, "bob", {0: "A"}, view=REVISED)
    team_project.say(project, "cid", {0: "X"}, view="one")
    assert Consensus.of(project).mean[0] == 2
    team_project.say(project, "eve", {0: "X"}, view=CHAIR, stage=FINAL, class_="ring")
    consensus = Consensus.of(project)
    assert (consensus.mean[0], consensus.grade(0), consensus.kind(0)) == (2, "X", "ring")
    # A final grade is no grade of an inspector, in the pages of one person either.
    assert project.standing(project.round(1))[0].grade.grade == "X"
    assert project.standing(project.round(1))[0].grade.inspector == "cid"


def simulate(
    folder: Path, skills: dict[str, tuple[float, float]], tests: int, objects: int
) -> tuple[Project, np.ndarray]:
    """A team whose members say A of a lens with the first probability, and X of any other object with the second."""
    random = np.random.default_rng(11)
    project, _ = team_project.project(folder, tuple(skills), candidates=objects, fakes=tests, duds=tests)
    plan = Plan.of(project)
    truth = np.where(plan.is_listed, random.random(len(plan)) < 0.3, plan.is_lens)
    rows = []
    for name, (p_lens, p_dud) in skills.items():
        right = random.random(len(plan)) < np.where(truth, p_lens, p_dud)
        for index in range(len(plan)):
            round_, number = plan.place(index)
            about = {column: round_.place[column][number].item() for column in ("object_id", "ra", "dec")}
            grade = "A" if right[index] == truth[index] else "X"
            uuid = f"{name}-{index}"
            rows.append(
                Verdict(uuid, uuid, name, round_.number, tile="t", model_sha256="", stage="grades", grade=grade,
                        view=BLIND, was_fake=bool(plan.painted[index]), **about)
            )  # fmt: skip
    project.verdicts.add(rows)
    return project, truth


def test_a_team_of_known_skill_is_found_to_have_it(tmp_path: Path) -> None:
    skills = {"ann": (0.9, 0.95), "bob": (0.6, 0.9), "cid": (0.8, 0.7), "dan": (0.5, 0.5)}
    project, truth = simulate(tmp_path, skills, 400, 600)
    consensus = Consensus.of(project, prior=0.3)
    for skill, (p_lens, p_dud) in zip(consensus.skills, skills.values(), strict=True):
        assert skill.lenses == skill.duds == 400
        # Three standard deviations of a share of 400.
        assert skill.p_lens == pytest.approx(p_lens, abs=3 * np.sqrt(p_lens * (1 - p_lens) / 400))
        assert skill.p_dud == pytest.approx(p_dud, abs=3 * np.sqrt(p_dud * (1 - p_dud) / 400))
    # A posterior is a probability: of the objects at p, the share p are lenses.
    listed = consensus.plan.is_listed
    probability, lens = consensus.posterior[listed], truth[listed]
    expected = probability.sum()
    assert abs(lens.sum() - expected) < 3 * np.sqrt((probability * (1 - probability)).sum())
    likely = probability > 0.5
    assert lens[likely].mean() == pytest.approx(probability[likely].mean(), abs=0.05)
    # It is that of the formula for one of the objects, with the skills that were measured.
    index = int(np.flatnonzero(listed)[0])
    said = [(skill, bool(word)) for skill, word in zip(consensus.skills, consensus.says_lens[index], strict=True)]
    assert consensus.posterior[index] == pytest.approx(posterior(said, 0.3))
    rows = {row["inspector"]: row for row in tables.inspector_table(consensus)}
    assert rows["ann"]["information"] > rows["bob"]["information"] > rows["dan"]["information"]
    assert rows["dan"]["information"] == pytest.approx(0, abs=0.02)

    # For two values alpha is 1 - D_o / D_e. With lens share f and skills known, disagreements have this probability.
    share, (a, b, c, d) = lens.mean(), skills.values()
    pairs = [(x, y) for x in (a, b, c, d) for y in (a, b, c, d) if x is not y]
    differ = np.mean(
        [
            share * (x[0] * (1 - y[0]) + y[0] * (1 - x[0])) + (1 - share) * (x[1] * (1 - y[1]) + y[1] * (1 - x[1]))
            for x, y in pairs
        ]
    )
    says = np.mean([share * one[0] + (1 - share) * (1 - one[1]) for one in (a, b, c, d)])
    alpha = consensus.alpha("nominal")
    assert alpha.value == pytest.approx(1 - differ / (2 * says * (1 - says)), abs=0.04)
    assert alpha.low < alpha.value < alpha.high


def test_completeness_of_the_eye_is_that_of_the_fakes_it_found(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path, ("ann", "bob"), candidates=1, fakes=20)
    with pytest.raises(ScannerError) as caught:
        eye.measure_eye(Consensus.of(project))
    assert caught.value.code == ErrorCode.INSPECT_NO_TRUTH
    # Both find the ten wide ones; ann alone finds the next four, whose mean is a C.
    for name, least in (("ann", 6), ("bob", 10)):
        team_project.say(project, name, {1 + number: "A" if number >= least else "X" for number in range(20)})
    total, bins = eye.measure_eye(Consensus.of(project), bins=4)
    assert (total.found, total.total) == (10, 20)
    assert (total.low, total.high) == pytest.approx((0.299, 0.701), abs=1e-3)
    assert set(bins) == {"theta_e_seeing", "theta_e", "snr", "seeing"}
    for name in ("theta_e", "snr", "theta_e_seeing"):
        assert [one.found.value for one in bins[name]] == [0, 0, 1, 1]
    assert bins["theta_e"][0].low == pytest.approx(0.5)
    assert bins["theta_e_seeing"][0].low == pytest.approx(0.5 / 0.7)


def test_a_known_lens_among_the_candidates_counts_with_its_einstein_radius(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path, candidates=6)
    known = team_project.table(3, 4, truth_theta_e=[0.8, 1.6, 2.4])
    project.add_round(known, "known", "list", team_project.INFO, "lens")
    plan = make_plan(project, Wish())
    assert np.flatnonzero(plan.is_lens).tolist() == [4, 5, 6]
    team_project.say(project, "ann", {4: "X", 5: "A", 6: "A"})
    total, bins = eye.measure_eye(Consensus.of(project), bins=3)
    assert (total.found, total.total) == (2, 3)
    assert [(one.median, one.found.value) for one in bins["theta_e"]] == [(0.8, 0), (1.6, 1), (2.4, 1)]


def test_bins_count_the_lenses_whose_property_is_known(tmp_path: Path) -> None:
    """Known lenses without an Einstein radius make no further bins of those that have one."""
    project, _ = team_project.project(tmp_path, candidates=1, fakes=2 * eye.EACH)
    project.add_round(team_project.table(6 * eye.EACH, 4000), "known", "list", team_project.INFO, "lens")
    plan = make_plan(project, Wish())
    team_project.say(project, "ann", dict.fromkeys(range(len(plan)), "A"))
    total, bins = eye.measure_eye(Consensus.of(project))
    assert total.total == 8 * eye.EACH
    assert [one.found.total for one in bins["theta_e"]] == [eye.EACH, eye.EACH]


def test_tables_feed_a_ranking_and_the_next_training(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path / "project", candidates=4, fakes=1, duds=1)
    for name in ("ann", "bob"):
        team_project.say(project, name, {0: "A", 1: "C", 4: "A", 5: "X"})
        team_project.say(project, name, {2: "X"}, class_="ring", comment=f"round, says {name}")
        team_project.say(project, name, {3: "X"})
    path = tmp_path / "verdicts.csv"
    table = tables.verdicts_of(project)
    path.write_bytes(encode(table, "csv"))
    # The fake host is no lens, and the dud was not found by the search.
    marks = read_marks(path)
    assert {(round(one.ra, 4), one.kept) for one in marks} == {
        (190.0, True), (round(190 + 2 / 60, 4), False), (round(190 + 3 / 60, 4), False)
    }  # fmt: skip
    rows = {row["object_id"] - 10**15: row for row in table}
    assert (rows[2]["class"], rows[2]["comment"]) == ("ring", "round, says ann; round, says bob")
    assert rows[0]["grade_ann"] == "A"
    negatives = tables.negative_table(project)
    assert [(row["object_id"] - 10**15, row["label"]) for row in negatives] == [(2, "ring"), (3, "")]
    everything = tables.object_table(Consensus.of(project))
    assert sorted(everything["truth"].tolist()) == ["", "", "", "", "dud", "lens"]
    listed = list(csv.DictReader(encode(tables.summary_table(Consensus.of(project)), "csv").decode().splitlines()))
    assert {row["quantity"]: row["value"] for row in listed}["grade X"] == "2.0"


def test_a_grade_that_is_known_to_be_wrong_teaches_nothing(tmp_path: Path) -> None:
    project, _ = team_project.project(tmp_path, candidates=4)
    project.add_round(team_project.table(2), "known", "list", team_project.INFO, "lens")
    project.add_round(team_project.table(2, 2), "duds", "list", team_project.INFO, "dud")
    make_plan(project, Wish())
    team_project.say(project, "ann", {0: "A", 1: "X", 2: "A", 3: "X"})
    rows = {row["object_id"] - 10**15: row for row in tables.verdicts_of(project)}
    assert [(rows[number]["grade"], rows[number]["mark"]) for number in range(4)] == [
        ("A", "kept"), ("X", ""), ("A", ""), ("X", "rejected")
    ]  # fmt: skip
    assert tables.negative_table(project)["object_id"].tolist() == [10**15 + 3], "a known lens is no hard negative"


def test_one_person_exports_negatives_too(tmp_path: Path) -> None:
    project = Project.create(tmp_path)
    project.add_round(team_project.table(3), "list", "list", team_project.INFO)
    with pytest.raises(ScannerError) as caught:
        tables.negative_table(project)
    assert caught.value.code == ErrorCode.INSPECT_NO_TRUTH
    one = project.round(1)
    rows = [
        Verdict(f"v-{number}", "b", "me", 1, int(one.place["object_id"][number]), float(one.place["ra"][number]),
                float(one.place["dec"][number]), "t", "", stage, grade, kind)
        for number, stage, grade, kind in (
            (0, "grades", "X", "spiral"), (1, "triage", "no", ""), (2, "grades", "A", "")
        )
    ]  # fmt: skip
    project.verdicts.add(rows)
    assert tables.negative_table(project)["label"].tolist() == ["spiral"]
