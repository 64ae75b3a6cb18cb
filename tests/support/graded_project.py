"""A project of a hunt without a scan: objects at given places, cutouts of noise, and verdicts by script."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table

from catalogs.store.provenance import Info
from scanner.hunt.project import Project
from scanner.hunt.verdicts import Verdict

BANDS = ("g", "r", "i")
PLACES = ((150.1, 2.2), (150.2, 2.2), (150.2003, 2.2003), (150.3, -2.2), (150.4, 2.4))
"""The third is a piece of the second: it lies 1.5 arcsec beside it."""


def info(model: str = "d" * 64) -> Info:
    """A catalogue by a model of this digest."""
    contract = {"bands": list(BANDS), "window": 32, "pixel_scale": 0.25, "embedding_dim": 4}
    return Info("unions", BANDS, "small", model, contract, "software 1", "2026-01-01T00:00:00+00:00")


def make(folder: Path, places: Sequence[tuple[float, float]] = PLACES, *, pixels: bool = True) -> Project:
    """Make a project of one round."""
    count = len(places)
    rows = Table(
        {
            "object_id": np.arange(count) + 217_290_000_001,
            "tile": ["217.290"] * count,
            "ra": [ra for ra, _ in places],
            "dec": [dec for _, dec in places],
            "mag_r": np.linspace(19, 21, count).astype(np.float32),
            "mag_auto": np.linspace(19, 21, count).astype(np.float32),
            "score_lens": np.linspace(4, -4, count).astype(np.float32),
            "is_primary": [True] * count,
        }
    )
    rows["mag_r"][0] = np.nan
    project = Project.create(folder)
    made = project.add_round(rows, "first", "candidates.csv", info())
    rng = np.random.default_rng(0)
    if pixels:
        for _ in made.cut(lambda tile, ra, dec: (rng.normal(0, 1, (3, 32, 32)).astype(np.float32), b"")):
            pass
    return Project(folder)


def judge(project: Project, inspector: str, grades: Mapping[int, str], *, fake: int = -1, comment: str = "") -> None:
    """Record the verdicts of an inspector: a grade for the numbers of objects put forward, no for all others."""
    current = project.round(1)
    verdicts = []
    for number in range(len(current)):
        place = {name: current.place[name][number].item() for name in ("object_id", "ra", "dec")}
        about = {"inspector": inspector, "round": 1, "tile": str(current.place["tile"][number]), **place}
        about |= {"model_sha256": current.record.model_sha256, "was_fake": number == fake, "batch": "one"}
        said = [("triage", "candidate" if number in grades else "no", "")]
        if grades.get(number):
            said.append(("grades", grades[number], "spiral" if grades[number] == "X" else ""))
        for stage, grade, kind in said:
            words = {"stage": stage, "grade": grade, "class_": kind, "comment": comment}
            verdicts.append(Verdict(uuid=str(uuid.uuid4()), **about, **words))
    project.verdicts.add(verdicts)
