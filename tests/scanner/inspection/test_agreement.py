"""Alpha and SWAP against values that were worked out by hand from their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scanner.inspection import PRIOR
from scanner.inspection.alpha import INTERVAL, METRICS, NOMINAL, ORDINAL, estimate_alpha, krippendorff_alpha
from scanner.inspection.swap import Skill, posterior

NAN = math.nan
# Four observers of twelve units, in Krippendorff 2011, section D, where alpha is worked out step by step.
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
).T


@pytest.mark.parametrize(("metric", "expected"), [(NOMINAL, 0.743), (ORDINAL, 0.815), (INTERVAL, 0.849)])
def test_alpha_is_that_of_the_example_of_its_author(metric: str, expected: float) -> None:
    assert krippendorff_alpha(KRIPPENDORFF, metric) == pytest.approx(expected, abs=5e-4)


def test_alpha_of_two_observers_by_hand() -> None:
    # Pairs 1 1, 0 0, 1 0: n_1 = 3, n_0 = 3, o_01 + o_10 = 2, so D_o = 2, D_e = 2 * 9 / 5 and alpha = 1 - 2 * 5 / 18.
    values = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    for metric in METRICS:
        assert krippendorff_alpha(values, metric) == pytest.approx(1 - 10 / 18)


def test_alpha_says_nothing_where_all_is_the_same_or_nothing_is_compared() -> None:
    for values in (np.ones((5, 3)), np.array([[1.0, NAN], [NAN, 2.0]]), np.zeros((0, 3))):
        assert math.isnan(krippendorff_alpha(values))
        assert math.isnan(estimate_alpha(values).low)


def test_alpha_of_chance_is_zero_and_of_perfect_agreement_one() -> None:
    random = np.random.default_rng(3)
    chance = estimate_alpha(random.integers(0, 4, (3000, 6)).astype(float))
    assert chance.low < 0 < chance.high
    assert chance.value == pytest.approx(0, abs=0.02)
    same = np.repeat(random.integers(0, 4, (50, 1)), 4, axis=1).astype(float)
    assert krippendorff_alpha(same) == pytest.approx(1)


def test_alpha_does_not_depend_on_names_and_order_of_people_or_objects() -> None:
    random = np.random.default_rng(1)
    shuffled = KRIPPENDORFF[random.permutation(12)][:, random.permutation(4)]
    for metric in METRICS:
        assert krippendorff_alpha(shuffled, metric) == pytest.approx(krippendorff_alpha(KRIPPENDORFF, metric))


def test_skill_by_hand() -> None:
    # 9 of 10 lenses and 17 of 20 duds, with one right and one wrong answer added to each.
    skill = Skill(lenses=10, right_lenses=9, duds=20, right_duds=17)
    assert skill.p_lens == pytest.approx(10 / 12)
    assert skill.p_dud == pytest.approx(18 / 22)
    assert (Skill().p_lens, Skill().p_dud) == (0.5, 0.5)


def test_a_posterior_by_hand() -> None:
    skill = Skill(lenses=8, right_lenses=7, duds=8, right_duds=7)  # P_L = P_D = 0.8
    # LENS once: 0.8 p / (0.8 p + 0.2 (1 - p)) at p = 0.1 is 0.08 / 0.26.
    assert posterior([(skill, True)], 0.1) == pytest.approx(0.08 / 0.26)
    # NOT once: 0.2 p / (0.2 p + 0.8 (1 - p)) is 0.02 / 0.74.
    assert posterior([(skill, False)], 0.1) == pytest.approx(0.02 / 0.74)
    # Three times LENS multiplies the odds of Space Warps, 1 / 4999, by 4 each time.
    assert posterior([(skill, True)] * 3) == pytest.approx(64 / (64 + 4999))
    # The second answer takes the posterior of the first as its prior, whatever the order.
    other = Skill(lenses=2, right_lenses=2, duds=0)
    both = posterior([(other, False)], posterior([(skill, True)], 0.1))
    assert posterior([(other, False), (skill, True)], 0.1) == pytest.approx(both)
    assert posterior([]) == pytest.approx(PRIOR)
    assert posterior([(Skill(), True)] * 50) == pytest.approx(PRIOR), "coins tell nothing"


def test_information_of_an_answer_by_hand() -> None:
    skill = Skill(lenses=8, right_lenses=7, duds=8, right_duds=7)
    # A symmetric channel of 0.8 carries 1 - S(0.8) bits.
    assert skill.information == pytest.approx(1 + 0.8 * math.log2(0.8) + 0.2 * math.log2(0.2))
    assert Skill().information == pytest.approx(0)
    # One who says LENS of everything tells nothing.
    assert Skill(lenses=1000, right_lenses=1000, duds=1000).information == pytest.approx(0, abs=0.01)
