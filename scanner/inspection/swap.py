"""SWAP: the probability that an object is a lens, from what people of known skill say of it.

Each inspector says LENS or NOT. The skill of each is how often that was right for objects whose truth is known: fakes
and duds in the stream.

Source: Marshall et al. 2016, MNRAS 455, 1171 (Space Warps I).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scanner.inspection import PRIOR

SMOOTHING = 1
"""Right and wrong answers that are added to those of each kind, so that a beginner is a coin: P = 1/2."""


@dataclass(frozen=True)
class Skill:
    """What an inspector said where the truth is known: LENS of ``right_lenses`` of ``lenses``, and NOT likewise."""

    lenses: int = 0
    right_lenses: int = 0
    duds: int = 0
    right_duds: int = 0

    @property
    def p_lens(self) -> float:
        """P_L, the probability that the inspector says LENS of a lens; 1/2 before the first."""
        return (self.right_lenses + SMOOTHING) / (self.lenses + 2 * SMOOTHING)

    @property
    def p_dud(self) -> float:
        """P_D, the probability that the inspector says NOT of what is none; 1/2 before the first."""
        return (self.right_duds + SMOOTHING) / (self.duds + 2 * SMOOTHING)

    @property
    def information(self) -> float:
        """Bits that an answer tells about an object which is as likely a lens as not: 0 for a coin, 1 at best."""
        p_says_lens = (self.p_lens + 1 - self.p_dud) / 2
        return _bits(p_says_lens) - (_bits(self.p_lens) + _bits(self.p_dud)) / 2


def posterior(said: Iterable[tuple[Skill, bool]], prior: float = PRIOR) -> float:
    """Compute the probability of a lens from answers (True: LENS) of people with these skills, by Bayes' theorem.

    The answers are taken as independent, given what the object is. Their order does not matter.
    """
    # Odds in logarithms: the product of many answers would leave the range of numbers.
    odds = np.log(prior) - np.log1p(-prior)
    for skill, lens in said:
        if lens:
            odds += np.log(skill.p_lens) - np.log(1 - skill.p_dud)
        else:
            odds += np.log(1 - skill.p_lens) - np.log(skill.p_dud)
    return float(1 / (1 + np.exp(-odds)))


def _bits(p: float) -> float:
    """The entropy of a yes or no of probability ``p``, which smoothing keeps off 0 and 1."""
    return float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)))
