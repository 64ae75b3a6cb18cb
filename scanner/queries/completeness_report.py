"""The report of a completeness: tables, the same numbers as JSON, and a figure."""

from __future__ import annotations

import operator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from catalogs.atomic import write_json, write_text
from catalogs.completeness import measure
from catalogs.completeness.injected import NOWHERE, BlockScores, Injected, Positions, Search, search
from catalogs.completeness.measure import Bin, Threshold
from catalogs.errors import ErrorCode, ScannerError
from catalogs.estimate import Share
from catalogs.ranking import AUTO, Method
from catalogs.ranking.rank import choose_method, fit_method
from catalogs.render import render
from catalogs.search import examples
from catalogs.search.examples import Examples
from catalogs.search.tile_pass import Executor
from catalogs.store import rows
from catalogs.store.backend import Snapshot
from catalogs.text_table import text_table
from scanner.figures.completeness import draw_completeness
from scanner.queries.injected_rows import list_lenses

PER_DEGREE = 100.0
"""Other objects a square degree at the threshold, where none is given: what a survey has looked at by eye."""


@dataclass(frozen=True)
class Completeness:
    """A search for injected lenses by ``ranked_by``, measured at the threshold ``here`` and at others."""

    ranked_by: str
    search: Search
    here: Threshold
    bins: dict[str, list[Bin]]

    @property
    def detected(self) -> Share:
        """The share of the lenses that have an object of the catalogue."""
        return Share.of(int(self.search.detected.sum()), len(self.search.detected))


def measure_completeness(
    snapshot: Snapshot,
    injected: Injected,
    *,
    method: Method | str = AUTO,
    column: str | None = None,
    like: Examples | None = None,
    where: str | None = None,
    threshold: float | None = None,
    per_degree: float = PER_DEGREE,
    bins: int | None = None,
    executor: Executor | None = None,
    known: Positions = NOWHERE,
) -> Completeness:
    """Measure the completeness of a ranking method, or of a ``column`` whose high values rank first.

    A lens counts as found if an object within 1 arcsec of it reaches the ``threshold``; without one, if fewer than
    ``per_degree`` other objects a square degree score as high. Objects of ``known`` lenses, at RA and Dec in degrees,
    are not among these. ``executor`` runs the pass over all rows. Without ``bins``, these hold about 10 lenses or more.

    Raises:
        ScannerError: ``completeness.*``, ``rank.*``, ``column.unknown``, ``where.*``.
        ValueError: The threshold is not finite, or ``per_degree`` is not positive and finite.
    """
    # Checked here too, before the pass over all rows.
    if threshold is not None:
        measure.check_threshold(threshold)
    else:
        measure.check_level(per_degree)
    apart = np.concatenate((injected.ra, known[0])), np.concatenate((injected.dec, known[1]))
    ranked_by, scores, columns = _ranking(snapshot, apart, method, column, like, where)
    found = search(snapshot, injected, scores, columns, where, executor, known)
    here = measure.at_score(found, threshold) if threshold is not None else measure.at_level(found, per_degree)
    return Completeness(ranked_by, found, here, measure.in_bins(found, here.score, bins))


def _ranking(
    snapshot: Snapshot,
    apart: Positions,
    method: Any,
    column: str | None,
    like: Examples | None,
    where: str | None,
) -> tuple[str, BlockScores, tuple[str, ...]]:
    """Return the name of the ranking, the scores of a block, and the columns that they need.

    Objects at the positions ``apart`` are no examples of what is usual.
    """
    catalogue = snapshot.catalogue
    if column is not None:
        numbers = [field.name for field in catalogue.schema if _is_number(field.type)]
        if column not in numbers:
            message = f"The catalogue has no column of numbers {column}."
            raise ScannerError(ErrorCode.COLUMN_UNKNOWN, message, f"Its columns of numbers are {', '.join(numbers)}.")
        return column, operator.methodcaller("column", column), (column,)
    none = examples.none(catalogue.info.dim)
    chosen = choose_method(catalogue, method, len(like) if like is not None else 0, like is not None)
    selection = rows.primary(catalogue, where)
    scorer = fit_method(snapshot, chosen, like if like is not None else none, none, selection, apart=apart).scorer
    return chosen, scorer.score_block, scorer.columns


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def facts(completeness: Completeness, about: dict[str, Any]) -> dict[str, Any]:
    """Collect the whole report as JSON values."""
    found = completeness.search
    return {
        **about,
        "ranked_by": completeness.ranked_by,
        "lenses": len(found.lenses),
        "lenses_elsewhere": found.elsewhere,
        "lenses_on_known": found.on_known,
        "detected": asdict(completeness.detected),
        "area": found.area,
        "others": found.objects,
        "known": found.known,
        "threshold": asdict(completeness.here),
        "thresholds": [asdict(one) for one in measure.curve(found)],
        "bins": {name: [asdict(one) for one in several] for name, several in completeness.bins.items()},
    }


def table(completeness: Completeness) -> str:
    """Render the thresholds, and the bins at the one that was asked for."""
    found, here = completeness.search, completeness.here
    apart = f" ({found.on_known:,} more were painted on known lenses, and are left out)" if found.on_known else ""
    left_out = f", beside {found.known:,} of known lenses, which are not counted" if found.known else ""
    lines = [
        f"{len(found.lenses):,} injected lenses{apart}, ranked by {completeness.ranked_by}; "
        f"{completeness.detected.value:.1%} have an object within 1 arcsec.",
        f"{found.objects:,} other objects on {found.area:#.3g} square degrees{left_out}.",
        "",
    ]
    cells = [["threshold", "completeness", "other objects", "a square degree"]]
    rows_shown = sorted([*measure.curve(found), here], key=lambda one: -one.score)
    for one in dict.fromkeys(rows_shown):
        mark = "  <" if one == here else ""
        density = f"{one.per_degree:,.4g} [{one.per_degree_low:,.3g}, {one.per_degree_high:,.3g}]"
        cells.append([f"{one.score:.4g}", _cell(one.completeness), f"{one.others:,}", f"{density}{mark}"])
    lines += [text_table(cells, "<"), "", f"At the threshold {here.score:.4g}:", ""]
    cells = [["", "from", "to", "lenses", "detected", "found"]]
    for name, several in completeness.bins.items():
        for part in several:
            ends = [f"{part.low:.3g}", f"{part.high:.3g}"]
            cells.append([name, *ends, str(part.found.total), _cell(part.detected), _cell(part.found)])
    return "\n".join([*lines, text_table(cells, "<>>>")])


def _cell(share: Share) -> str:
    return f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]"


def write(completeness: Completeness, report: dict[str, Any], folder: Path, truth: Table) -> None:
    """Write ``completeness.json``, ``lenses.ecsv`` with the rows of the ``truth``, and ``completeness.png``."""
    write_json(folder / "completeness.json", report)
    lenses = list_lenses(truth, completeness.search, completeness.here.score)
    write_text(folder / "lenses.ecsv", str(render(lenses, "ecsv")))
    found, curve = completeness.search, measure.fine_curve(completeness.search)
    title = (
        f"{len(found.lenses):,} injected lenses among {found.objects:,} objects on {found.area:#.3g} square degrees, "
        f"ranked by {completeness.ranked_by}"
    )
    path = folder / "completeness.png"
    draw_completeness(curve, completeness.here, completeness.detected, completeness.bins, title, path)
