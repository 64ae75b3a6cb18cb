"""Consensus: what the blind grades of all inspectors say together of each object."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from catalogs.estimate import Estimate
from scanner.hunt.project import Project
from scanner.hunt.scheme import Scheme
from scanner.hunt.verdicts import Verdict
from scanner.inspection import PRIOR
from scanner.inspection.alpha import ORDINAL, estimate_alpha
from scanner.inspection.ledger import Conflict, Ledger
from scanner.inspection.progress import open_ledger
from scanner.inspection.swap import Skill, posterior

Floats = NDArray[np.float64]


class Consensus:
    """The grades of K objects of a plan by I people: ``verdicts`` [K][I], and their ``values`` [K, I], NaN for none.

    The verdicts are the blind ones. A grade in an open conflict between copies of the project does not count.
    """

    def __init__(self, ledger: Ledger, prior: float = PRIOR) -> None:
        self.ledger, self.plan, self.prior = ledger, ledger.plan, prior
        self.scheme: Scheme = self.plan.project.scheme
        self.people = tuple(dict.fromkeys([*self.plan.inspectors, *ledger.people()]))
        self.conflicts: list[Conflict] = ledger.conflicts()
        open_ = {(one.inspector, one.index) for one in self.conflicts}
        self.verdicts: list[list[Verdict | None]] = []
        for index in range(len(self.plan)):
            said = ((name, ledger.said(name, index)) for name in self.people)
            self.verdicts.append([one.blind if one and (name, index) not in open_ else None for name, one in said])
        value = {one.name: np.nan if one.value is None else one.value for one in self.scheme.grades}
        self.values: Floats = np.array(
            [[np.nan if one is None else value.get(one.grade, np.nan) for one in row] for row in self.verdicts]
        ).reshape(len(self.plan), len(self.people))
        self.final = [ledger.final(index) for index in range(len(self.plan))]

    @classmethod
    def of(cls, project: Project, prior: float = PRIOR) -> Consensus:
        """Read what stands in a project.

        Raises:
            ScannerError: ``inspect.no_plan``, ``inspect.damaged``, ``hunt.*``.
        """
        return cls(open_ledger(project), prior)

    @property
    def count(self) -> NDArray[np.int64]:
        """How many grades each object has [K]."""
        return np.asarray(np.isfinite(self.values).sum(axis=1), np.int64)

    @cached_property
    def mean(self) -> Floats:
        """The mean grade G of each object [K], NaN without one."""
        sums = np.nansum(self.values, axis=1)
        return np.asarray(np.divide(sums, self.count, out=np.full(len(sums), np.nan), where=self.count > 0))

    @cached_property
    def spread(self) -> Floats:
        """The disagreement about each object [K]: the standard deviation of its grades, NaN below two of them."""
        squares = np.nansum((self.values - self.mean[:, None]) ** 2, axis=1)
        variance = np.divide(squares, self.count - 1, out=np.full(len(squares), np.nan), where=self.count > 1)
        return np.asarray(np.sqrt(variance))

    @property
    def error(self) -> Floats:
        """The standard error of each mean grade [K], NaN below two grades."""
        return np.asarray(self.spread / np.sqrt(np.maximum(self.count, 1)))

    @cached_property
    def says_lens(self) -> NDArray[np.bool_]:
        """Who says LENS of what [K, I]: a grade that the scheme keeps, such as A or B."""
        words = [[one is not None and self.scheme.mark(one.grade) == "kept" for one in row] for row in self.verdicts]
        return np.array(words, bool).reshape(self.values.shape)

    @cached_property
    def skills(self) -> tuple[Skill, ...]:
        """The skill of each person, from the objects whose truth is known."""
        made = []
        for who in range(len(self.people)):
            graded, lens = np.isfinite(self.values[:, who]), self.says_lens[:, who]
            lenses, duds = graded & self.plan.is_lens, graded & self.plan.is_dud
            made.append(Skill(*(int(one.sum()) for one in (lenses, lenses & lens, duds, duds & ~lens))))
        return tuple(made)

    @cached_property
    def posterior(self) -> Floats:
        """The probability that each object is a lens [K], from those who graded it and their skills, or NaN."""
        answers = []
        for index in range(len(self.plan)):
            who = np.flatnonzero(np.isfinite(self.values[index]))
            said = [(self.skills[one], bool(self.says_lens[index, one])) for one in who]
            answers.append(posterior(said, self.prior) if said else np.nan)
        return np.array(answers)

    def alpha(self, metric: str = ORDINAL) -> Estimate:
        """Estimate Krippendorff's alpha of the grades of the listed objects."""
        return estimate_alpha(self.values[self.plan.is_listed], metric)

    def grade(self, index: int) -> str:
        """The grade of an object: the final one, else the one of its mean grade; "" without any."""
        final = self.final[index]
        return final.grade if final else self.grade_of_mean(index)

    def grade_of_mean(self, index: int) -> str:
        """The grade of the mean grade of an object; "" without a grade."""
        return nearest_grade(self.scheme, self.mean[index])

    def kind(self, index: int) -> str:
        """The kind of false positive: that of the final grade, else the one that most named; "" where none did."""
        final = self.final[index]
        if final:
            return final.class_
        named = Counter(one.class_ for one in self.verdicts[index] if one is not None and one.class_)
        return named.most_common(1)[0][0] if named else ""

    def by_disagreement(self) -> NDArray[np.int64]:
        """The objects, the most disputed first; of equals the one with the higher mean grade."""
        return np.lexsort((-np.nan_to_num(self.mean, nan=-1), -np.nan_to_num(self.spread, nan=-1)))

    def by_grade(self, grade: str) -> list[int]:
        """The listed objects of a grade, the highest mean first."""
        order = np.argsort(-np.nan_to_num(self.mean, nan=-1), kind="stable").tolist()
        return [index for index in order if self.plan.is_listed[index] and self.grade(index) == grade]


def nearest_grade(scheme: Scheme, mean: float) -> str:
    """The grade of a mean: the one whose value it is beyond half way to; "" for NaN.

    With A = 3, B = 2, C = 1 and X = 0 that is A > 2.5 > B > 1.5 > C > 0.5 > X; what lies half way has the lower grade.
    """
    if not np.isfinite(mean):
        return ""
    grades = sorted(((one.value, one.name) for one in scheme.grades if one.value is not None), reverse=True)
    for (value, name), (below, _) in pairwise(grades):
        if mean > (value + below) / 2:
            return name
    return grades[-1][1] if grades else ""
