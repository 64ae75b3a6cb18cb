"""Projects of a team: lists of candidates, fakes and duds with made-up pixels, and verdicts by script."""

from __future__ import annotations

import io
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from astropy.table import Table
from PIL import Image

from scanner.hunt.project import Project
from scanner.hunt.round import Round
from scanner.hunt.verdicts import Verdict
from scanner.inspection.plan import Plan
from scanner.inspection.planning import Wish, make_plan
from scanner.inspection.record import BLIND
from scanner.inspection.team import invite

BANDS, SIDE = ("g", "r", "i"), 8
INFO: Any = SimpleNamespace(
    contract={"bands": BANDS, "window": SIDE, "pixel_scale": 0.187}, model_sha256="a" * 64, survey="unions"
)
DEC = 55.0


def table(count: int, first: int = 0, **columns: Any) -> Table:
    """A list of objects, an arcminute apart, with a score."""
    number = np.arange(first, first + count)
    made = Table({"object_id": number + 10**15, "tile": np.full(count, "217.292")})
    made["ra"], made["dec"] = 190.0 + number / 60, np.full(count, DEC)
    made["mag_r"], made["snr"], made["flags"] = 20.0 + number / 100, 30.0 + number, np.zeros(count, np.int32)
    made["score_lens"] = 0.123456789 + number
    made["known_as"] = [f"known-{one}" for one in number]
    for name, values in columns.items():
        made[name] = values
    return made


def cut(round_: Round) -> None:
    """Cut pixels that tell the position."""

    def pixels(tile: str, ra: float, dec: float) -> tuple[Any, bytes]:
        flux = np.random.default_rng(round(ra * 1e6)).normal(10, 3, (len(BANDS), SIDE, SIDE)).astype(np.float32)
        with io.BytesIO() as file:
            Image.new("RGB", (8, 8)).save(file, "WEBP")
            return flux, file.getvalue()

    for _ in round_.cut(pixels):
        pass


def project(
    folder: Path,
    names: Sequence[str] = ("ann", "bob", "cid"),
    *,
    candidates: int = 6,
    fakes: int = 0,
    duds: int = 0,
    chairs: Sequence[str] = (),
    **wish: Any,
) -> tuple[Project, dict[str, str]]:
    """Make a project with a plan; returns it with the tokens by name. Fakes are painted, with theta_e and S/N."""
    made = Project.create(folder)
    cut(made.add_round(table(candidates), "candidates", "list", INFO))
    if fakes:
        number = np.arange(fakes)
        painted = {"truth_theta_e": 0.5 + number / 10, "truth_snr": 10.0 + number, "truth_seeing": np.full(fakes, 0.7)}
        cut(made.add_round(table(fakes, 1000, **painted), "fakes", "truth", INFO, "lens", painted=True))
    if duds:
        cut(made.add_round(table(duds, 2000), "duds", "list", INFO, "dud"))
    tokens = {name: invite(folder, name) for name in names} | {
        name: invite(folder, name, chair=True) for name in chairs
    }
    make_plan(made, Wish(**wish))
    return made, tokens


def say(
    project: Project, inspector: str, words: Mapping[int, str], *, view: str = BLIND, stage: str = "grades", **more: Any
) -> list[Verdict]:
    """Record the grades of an inspector, by object of the plan."""
    plan = Plan.of(project)
    made = []
    for index, grade in words.items():
        round_, number = plan.place(index)
        batch = uuid.uuid4().hex
        about = {name: round_.place[name][number].item() for name in ("object_id", "ra", "dec")}
        made.append(
            Verdict(
                uuid=f"{batch}/0", batch=batch, inspector=inspector, round=round_.number, tile="217.292",
                model_sha256=round_.record.model_sha256, stage=stage, grade=grade, view=view,
                was_fake=round_.record.painted, **about, **{"seconds": 2.0, **more},
            )
        )  # fmt: skip
    project.verdicts.add(made)
    return made
