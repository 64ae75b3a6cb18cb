"""What a release says of a team: how it graded, what was mixed in to test it, and how far it agreed."""

from __future__ import annotations

from typing import Any

import numpy as np

from scanner.hunt.project import Project
from scanner.inspection.alpha import ORDINAL
from scanner.inspection.consensus import Consensus
from scanner.inspection.plan import has_plan
from scanner.inspection.planning import count_withheld

Tests = dict[str, dict[str, int]]


def describe_team(project: Project) -> dict[str, Any] | None:
    """Collect the facts of a team; None for a project without a plan.

    ``tests`` counts the objects of known truth by what they are: how many were graded, and to how many the mean gave a
    grade that the scheme keeps. Those that are on a list of the search too count in both. ``lists_of_tests`` counts
    the objects of each list, and those that nobody got because a plan has their galaxy with and without paint.

    Raises:
        ScannerError: ``inspect.damaged``, ``hunt.*``.
    """
    if not has_plan(project.folder):
        return None
    consensus = Consensus.of(project)
    plan, alpha = consensus.plan, consensus.alpha()
    graded = consensus.count > 0
    kept = np.array([consensus.scheme.mark(consensus.grade_of_mean(one)) == "kept" for one in range(len(plan))], bool)
    tests: Tests = {}
    for name, chosen in (
        ("painted lenses", plan.is_lens & plan.painted),
        ("known lenses", plan.is_lens & ~plan.painted),
        ("duds", plan.is_dud),
    ):
        if chosen.any():
            tests[name] = {"graded": int((chosen & graded).sum()), "kept": int((chosen & kept).sum())}
    counts = consensus.count[plan.is_listed & graded]
    lists = [one for one in map(project.round, plan.record.lists) if one.record.truth]
    withheld = count_withheld(plan)
    return {
        "inspectors": len(plan.inspectors),
        "grades_per_object": [int(counts.min()), int(counts.max())] if len(counts) else [0, 0],
        "seed": plan.record.seed,
        "feedback": plan.record.feedback,
        "created": plan.record.created,
        "tests": tests,
        "lists_of_tests": [
            {
                "source": one.record.source,
                "truth": one.record.truth,
                "painted": one.record.painted,
                "objects": len(one),
                "withheld": withheld.get(one.number, 0),
            }
            for one in lists
        ],
        # Where it says nothing, such as for one inspector, there is no number.
        "alpha": {
            "metric": ORDINAL,
            **{end: value if np.isfinite(value := getattr(alpha, end)) else None for end in ("value", "low", "high")},
        },
    }


def in_sentences(facts: dict[str, Any]) -> str:
    """Say the facts of a team in sentences, for a ReadMe."""
    least, most = facts["grades_per_object"]
    each = f"{least}" if least == most else f"{least} to {most}"
    told = f"Each object has {each} grades, given blind to the score and to those of others. "
    if facts["tests"]:
        mixed = ", ".join(
            f"{one['graded']} {name} ({one['kept']} with a grade that is kept)" for name, one in facts["tests"].items()
        )
        told += f"Mixed in to test the inspectors: {mixed}. Painted lenses are in no table. "
    if withheld := sum(one["withheld"] for one in facts["lists_of_tests"]):
        told += f"{withheld} more were withheld, since their galaxies are graded without or with what was painted. "
    alpha = facts["alpha"]
    if alpha["value"] is not None:
        told += f"Krippendorff's alpha ({alpha['metric']}) is {alpha['value']:.2f}"
        told += f" ({alpha['low']:.2f} to {alpha['high']:.2f}, 95 % interval). " if alpha["low"] is not None else ". "
    return told
