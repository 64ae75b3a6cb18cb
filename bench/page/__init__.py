"""The page under load: people who search, look at cutouts and grade, all at once, on loopback.

Each person has one connection and asks again some seconds after the answer; in ``at once`` nobody waits. Seconds
are those of the person who asks, from the request to the last byte, on the same cores as the server. ``server_cpu_ms``
is the CPU time of the server for each request, which keeps its meaning where others use the cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bench.harness import memory
from bench.harness.setup import Setup
from bench.page import site
from bench.page.people import Person, Step, Tally, lost, percentile, together
from bench.page.site import Server
from catalogs.catalogue import Catalogue
from scanner.hunt.project import Project

ROWS, FEW_ROWS = 1_000_000, 2_000
PEOPLE, FEW_PEOPLE = 50, 3
THINK = 2.0
"""Seconds between an answer and the next question, in the mean."""
TURNS = 10
TILES = 6
"""Tiles with images, in each format: as many more are open in the server."""
WIDTH, HEIGHT = 10_000, 1_000
"""Pixels of their images: as wide as those of a survey, since a row of a compressed image is decoded as a whole."""
PAGE = 100
CONNECTIONS = 6
"""Pictures that a browser asks for at the same time."""
TARGETS_MS = {"search": 300, "cutouts": 500}


def measure(setup: Setup) -> dict[str, Any]:
    """Figures of each phase; ``lost`` counts verdicts that were acknowledged and are not in the record afterwards."""
    count = FEW_ROWS if setup.quick else ROWS
    with setup.step("catalogue and tiles"):
        size = (2, setup.full, setup.full // 2) if setup.quick else (TILES, WIDTH, HEIGHT)
        # Few objects would lie on small images, so all are moved there.
        filled = site.catalogue(setup.folder / f"page-{count}", count, 0.5 * setup.full / WIDTH if setup.quick else 1)
        roots = {form: site.images(setup.folder, form, *size) for form in ("raw", "rice")}
    with setup.scratch() as folder:
        with site.served(filled, roots["raw"], folder / "raw") as server:
            load = _Load(setup, server, filled, folder / "raw", size)
            result = load.run()
        with site.served(filled, roots["rice"], folder / "rice") as server:
            load = _Load(setup, server, filled, folder / "rice", size)
            with setup.step("compressed tiles"):
                result["cold"].append(load.cold("rice", roots["rice"]))
    return result


class _Load:
    def __init__(
        self, setup: Setup, server: Server, filled: Catalogue, project: Path, size: tuple[int, int, int]
    ) -> None:
        self._setup, self._server, self._project = setup, server, project
        self._people, self._turns, self._think = PEOPLE, TURNS, THINK
        self._page, self._pages = PAGE, 5
        if setup.quick:
            self._people, self._turns, self._think, self._page, self._pages = FEW_PEOPLE, 2, 0.01, 8, 2
        self._me = Person(server.address, 10_000)
        # The middle of the images, with room for the wide field.
        reach = 0.4 * size[2] * site.SCALE / 3600
        middle = float(site.unions_grid.centre(site.tile_name(0))[1])
        names = ", ".join(repr(site.tile_name(number)) for number in range(size[0]))
        self._where = f"tile in ({names}) and {middle - reach:.5f} < dec and dec < {middle + reach:.5f}"
        self._acknowledged: list[str] = []
        self._rows = sum(footer.rows for footer in filled.footers())

    def run(self) -> dict[str, Any]:
        """All phases but those of compressed tiles."""
        with self._setup.step("cold pages"):
            cold = [self.cold("raw", None)]
        looks = [memory.look(self._server.pid)]
        ids = self._ids(self._people * (2 * self._turns + 4) + 8)
        phases = []

        def search(start: int, person: Person, turn: int) -> None:
            person.ask(f"/search?id={ids[(start + person.number + turn * self._people) % len(ids)]}")

        def cutouts(person: Person, turn: int) -> None:
            page = int(person.rng.integers(1, self._pages + 1))
            person.ask(f"/hunt/1/mosaic?page={page}&size={self._page}")
            person.ask(f"/hunt/1/windows?page={page}&size={self._page}", accept="*/*")

        def verdicts(person: Person, turn: int) -> None:
            batch = f"person-{person.number}-turn-{turn}"
            first = (person.number + turn) % self._pages * self._page
            numbers = range(first, first + self._page)
            # Everybody keeps the same ones, so that there are examples to rank by.
            kept = 2 if self._setup.quick else 20
            grades = [{"number": n, "grade": "no" if n % kept else "candidate"} for n in numbers]
            said = {"batch": batch, "view": "mosaic", "verdicts": grades}
            answer = person.ask_json("/hunt/1/verdicts", said)
            self._acknowledged += [f"{batch}/{at}" for at in range(answer["saved"])]

        steps: list[tuple[str, float, int, Step]] = [
            ("search", self._think, self._turns, partial(search, 0)),
            ("search at once", 0.0, 4, partial(search, self._people * self._turns)),
            ("cutouts", self._think, self._turns, cutouts),
            ("cutouts at once", 0.0, 2, cutouts),
            ("verdicts", self._think, max(self._turns // 2, 1), verdicts),
        ]
        for name, think, turns, step in steps:
            with self._setup.step(name):
                phases.append(self._phase(name, think, turns, step))
                looks.append(memory.look(self._server.pid))
        with self._setup.step("rankings"):
            rankings = self._rankings()
        looks.append(memory.look(self._server.pid))
        # The record is read after a crash.
        self._server.kill()
        kept = [one.uuid for one, _ in Project(self._project).verdicts.every()]
        by_name = {row["phase"]: row for row in phases}
        return {
            "rows": self._rows,
            "people": self._people,
            "think_s": self._think,
            "search_p95_ms": by_name["search"]["p95_ms"],
            "cutouts_p95_ms": by_name["cutouts"]["p95_ms"],
            "lost": len(lost(self._acknowledged, kept)),
            "verdicts": len(set(self._acknowledged)),
            "memory_gb": [look.all / 1e9 for look in looks],
            "memory_own_gb": [look.own / 1e9 for look in looks],
            **rankings,
            "phases": phases,
            "cold": cold,
        }

    def cold(self, form: str, root: Path | None) -> dict[str, Any]:
        """Make a round, and look at its first page and at pictures of it before anything was read."""
        if root is not None:
            site.forget(root)
        cpu = self._server.cpu()
        began = time.perf_counter()
        asked = {"question": {"where": self._where, "seed": 1}, "count": self._page * self._pages}
        made = self._me.ask_json("/hunt/rounds", asked)
        listed = time.perf_counter()
        first = f"/hunt/{made['round']}/mosaic?size={self._page}"
        shown = self._me.ask_json(first)
        while any(one["state"] == 0 for one in shown["objects"]):
            self._me.ask(shown["windows"], accept="*/*")
            time.sleep(0.05)
            shown = self._me.ask_json(first)
        page = time.perf_counter()
        objects = [one["row"] for one in shown["objects"]]
        # All of it is cut before anything else is measured.
        while any(one["cut"] < one["objects"] for one in self._me.ask_json("/hunt")["rounds"]):
            time.sleep(0.2)
        spent = self._server.cpu() - cpu
        pictures = [
            f"/cutouts/picture?{urlencode({name: row[name] for name in ('ra', 'dec', 'tile')})}" for row in objects
        ]
        cold, warm = (self._pictures(pictures) for _ in range(2))
        return {
            "tiles": form,
            "round_s": listed - began,
            "first_page_s": page - listed,
            "cut_cpu_ms": 1000 * spent / made["objects"],
            "without_pixels": sum(one["state"] == 2 for one in shown["objects"]),
            "pictures_s": cold[0],
            "picture_p95_ms": cold[1],
            "pictures_warm_s": warm[0],
            "picture_warm_p95_ms": warm[1],
        }

    def _pictures(self, addresses: list[str]) -> tuple[float, float]:
        """Ask for pictures as one browser does; seconds for all, and the 95th percentile of one in milliseconds."""

        def step(person: Person, turn: int) -> None:
            for address in addresses[person.number :: CONNECTIONS][turn : turn + 1]:
                person.ask(address, accept="image/png")

        tally, wall = together(self._server.address, CONNECTIONS, -(-len(addresses) // CONNECTIONS), 0.0, step)
        _refuse(tally)
        return wall, 1000 * percentile(tally.seconds, 95)

    def _ids(self, count: int) -> list[str]:
        """Draw objects to search by, none twice."""
        ids: dict[int, None] = {}
        for seed in range(1 + count // 500):
            asked = f"/search?limit=500&seed={seed}&where=is_primary"
            ids |= dict.fromkeys(row["object_id"] for row in self._me.ask_json(asked)["rows"])
        return [str(one) for one in ids]

    def _phase(self, name: str, think: float, turns: int, step: Step) -> dict[str, Any]:
        # The first answers open files and fill caches.
        together(self._server.address, min(self._people, 4), 1, 0.0, step) if "at once" not in name else None
        cpu = self._server.cpu()
        tally, wall = together(self._server.address, self._people, turns, think, step)
        _refuse(tally)
        spent = 1000 * (self._server.cpu() - cpu) / len(tally.seconds)
        return {
            **tally.row(name, wall),
            "server_cpu_ms": spent,
            "server_cores": spent * len(tally.seconds) / wall / 1e3,
        }

    def _rankings(self) -> dict[str, Any]:
        """Rank by the verdicts, for the first time and again; ``rerank_mixed_s`` has uncertain objects too."""
        seconds: dict[str, Any] = {}
        for name, uncertain in (("rerank_first", 0), ("rerank", 0), ("rerank_mixed", self._page // 5)):
            cpu = self._server.cpu()
            asked = {"count": 2 * self._page, "uncertain": uncertain}
            seconds[f"{name}_s"] = _timed(lambda asked=asked: self._me.ask_json("/hunt/rerank", asked))
            # The rounds are cut meanwhile, on the other core.
            seconds[f"{name}_cpu_s"] = self._server.cpu() - cpu
        return seconds


def _refuse(tally: Tally) -> None:
    if tally.errors:
        raise RuntimeError(f"{len(tally.errors)} requests failed, such as {tally.errors[0]}")


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
