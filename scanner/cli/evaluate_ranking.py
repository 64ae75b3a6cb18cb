"""``scanner evaluate-ranking``: measure how well known lenses, or injected ones, are found."""

from __future__ import annotations

import json
import logging
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalogs.ranking import AUTO, METHODS
from catalogs.render import FACT_FORMATS
from scanner.cli.options import (
    catalog_option,
    encoder_options,
    format_option,
    image_options,
    known_option,
    pass_options,
)
from scanner.cli.output import DataCommand, show
from scanner.system.output_path import OUTPUT_FOLDER

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from catalogs.completeness.injected import Positions
    from catalogs.search.examples import Examples
    from catalogs.search.tile_pass import Executor
    from scanner.queries.query import QueryBuilder

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=DataCommand)
@catalog_option("--catalog", "Catalogue to rank.", lance=True)
@click.option("--truth", type=FILE, help="Table of known lenses, with ra and dec.")
@click.option(
    "--injected", type=FILE, help="Table of lenses that were painted into the tiles: tile, ra, dec, theta_e, snr, ..."
)
@click.option("--label", metavar="WORD", help="Value of the column label of the rows of --truth to use, such as lens.")
@click.option("--like", type=FILE, help="Table of examples to rank by, once. [default: draws from --truth]")
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(METHODS),
    help="Method of scoring; may be repeated. [default: all that the catalogue allows]",
)
@click.option(
    "--examples", default=10, show_default=True, type=click.IntRange(1), help="Lenses to rank by in each draw."
)
@click.option("--draws", default=20, show_default=True, type=click.IntRange(1), help="Number of draws.")
@click.option(
    "-k", "sizes", multiple=True, type=click.IntRange(1), default=(10, 100, 1000), show_default=True, help="List sizes."
)
@click.option(
    "--radius",
    default=3.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Largest distance from a position to its object, in arcsec.",
)
@click.option("--where", metavar="FILTER", help='Filter of the ranked rows, such as "mag_r < 21".')
@click.option("--augment", is_flag=True, help="Add the eight orientations of each example (needs --root).")
@image_options
@encoder_options
@click.option(
    "--column", metavar="NAME", help="Column that ranks in place of a method, high values first (--injected)."
)
@click.option("--threshold", type=float, help="Score from which a lens counts as found (--injected).")
@click.option(
    "--per-degree",
    type=click.FloatRange(0, min_open=True),
    help="Number of objects a square degree that are looked at: sets the threshold (--injected).  [default: 100]",
)
@known_option
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the draws.")
@click.option(
    "--out",
    type=OUTPUT_FOLDER,
    help="Folder for ranking.json and curve.png; completeness.json, completeness.png and lenses.ecsv by --injected.",
)
@pass_options
@format_option(FACT_FORMATS)
def evaluate_ranking(
    catalog: Path | str,
    truth: Path | None,
    injected: Path | None,
    label: str | None,
    like: Path | None,
    methods: tuple[str, ...],
    examples: int,
    draws: int,
    sizes: tuple[int, ...],
    radius: float,
    where: str | None,
    augment: bool,
    root: Path | None,
    survey: str | None,
    model: str | None,
    device: str,
    column: str | None,
    threshold: float | None,
    per_degree: float | None,
    known_lists: tuple[Path, ...],
    seed: int,
    out: Path | None,
    executor: AbstractContextManager[Executor | None],
    fmt: str,
) -> None:
    """Measure rankings on known lenses, or their completeness on injected ones.

    With --truth, some of the lenses are examples, and the places of the others are counted. It prints mean average
    precision, nDCG@10, and the recall and purity (precision) of lists of -k objects. Each has the 95 % interval of a
    bootstrap over draws and lenses. Ranking by magnitude alone and by chance serve for comparison. A lens without an
    object in the catalogue is reported and not counted. All objects that are not known lenses count as wrong, so purity
    is a lower bound.

    With --injected, lenses that were painted into the tiles before the scan are sought by one method (by default that
    of `scanner rank`) or column. A lens is found if an object within 1 arcsec scores above --threshold, or if it is
    among the first --per-degree objects a square degree. It prints how complete and how contaminated the list is at
    several thresholds, and the completeness in bins of Einstein radius, signal to noise, host magnitude and seeing,
    with 95 % binomial intervals. The number of other objects has a 95 % Poisson interval. Objects of known lenses are
    not counted as other objects, and lenses that were painted on known ones are left out. With --out, each lens has
    a row in lenses.ecsv.

    \b
    Examples:
      scanner evaluate-ranking --truth lenses.csv --examples 10 --out evaluation
      scanner evaluate-ranking --truth truth.csv --label lens --like mine.csv --where "mag_auto < 21" -f json
      scanner evaluate-ranking --injected truth.ecsv --per-degree 30 --out completeness
      scanner evaluate-ranking --truth lenses.csv --workers 4
    """
    import catalogs
    from scanner.queries.examples import read
    from scanner.queries.query import QueryBuilder

    _check(truth, injected, methods, column, threshold, per_degree, known_lists, augment, root)
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    snapshot = catalogs.open(catalog).snapshot()
    builder = QueryBuilder(snapshot, radius=radius, root=root, survey=survey, model=model, device=device)
    by_examples = read(like, builder, augment) if like else None
    about = {"like": like.name if like else None, "model": snapshot.catalogue.info.model, "augment": augment}
    if injected is not None:
        method = methods[0] if methods else AUTO
        ranked_by: dict[str, Any] = {"method": method, "column": column, "like": by_examples, "where": where}
        ranked_by["known"] = _positions(known_lists)
        about["where"] = where
        with executor as running:
            _evaluate_injected(injected, builder, ranked_by, running, threshold, per_degree, about, out, fmt)
    elif truth is not None:
        settings: dict[str, Any] = {"examples": examples, "draws": draws, "where": where, "seed": seed}
        settings["methods"] = methods
        with executor as running:
            _evaluate_known(truth, label, builder, by_examples, settings, running, sizes, about, out, fmt)


def _check(
    truth: Path | None,
    injected: Path | None,
    methods: tuple[str, ...],
    column: str | None,
    threshold: float | None,
    per_degree: float | None,
    known_lists: tuple[Path, ...],
    augment: bool,
    root: Path | None,
) -> None:
    """Refuse options that do not go together."""
    if (truth is None) == (injected is None):
        raise click.UsageError("Give either --truth or --injected.")
    if augment and root is None:
        raise click.UsageError("--augment needs --root, the folder of the images.")
    of_injected = {
        "--column": column,
        "--threshold": threshold,
        "--per-degree": per_degree,
        "--known": known_lists or None,
    }
    for option, value in of_injected.items():
        if value is not None and injected is None:
            raise click.UsageError(f"{option} needs --injected.")
    for option, number in {"--threshold": threshold, "--per-degree": per_degree}.items():
        # The range of an option does not exclude nan and inf.
        if number is not None and not math.isfinite(number):
            raise click.UsageError(f"{option} must be finite, not {number}.")
    if injected is not None and len(methods) + (column is not None) > 1:
        raise click.UsageError("--injected takes one --method or --column.")
    if threshold is not None and per_degree is not None:
        raise click.UsageError("Give either --threshold or --per-degree.")


def _positions(known_lists: tuple[Path, ...]) -> Positions:
    """Read where the known lenses are."""
    import numpy as np

    from scanner.queries.known_lenses import read_known

    known = read_known(known_lists)
    return np.asarray(known["ra"], float), np.asarray(known["dec"], float)


def _evaluate_known(
    truth: Path,
    label: str | None,
    builder: QueryBuilder,
    by_examples: Examples | None,
    settings: dict[str, Any],
    executor: Executor | None,
    sizes: tuple[int, ...],
    about: dict[str, Any],
    out: Path | None,
    fmt: str,
) -> None:
    """Rank by some known lenses, and see where the others come."""
    from catalogs.ranking.evaluation import EvaluationSettings, evaluate
    from catalogs.ranking.rank import available
    from scanner.queries import ranking_report
    from scanner.queries.examples import augment_examples, describe_examples, read
    from scanner.queries.query import QueryBuilder

    snapshot = builder.snapshot
    # Lenses to be found must be objects of the catalogue, so they are read without a --root to embed others from.
    lenses = read(truth, QueryBuilder(snapshot, radius=builder.radius), label=label)
    click.echo("\n".join(describe_examples(truth, lenses)), err=True)
    if about["augment"] and by_examples is None:
        # Without --like each draw takes its examples from these lenses.
        lenses = augment_examples(lenses, builder)
    used = EvaluationSettings(**settings | {"methods": settings["methods"] or available(snapshot.catalogue)})
    evaluation = evaluate(snapshot.catalogue, lenses, used, by_examples, snapshot, executor)
    if evaluation.not_ranked:
        click.echo(f"{evaluation.not_ranked} lenses are not primary objects that pass the filter", err=True)
    about = {"truth": truth.name, **about, "positions_without_object": len(lenses.unmatched)}
    report = ranking_report.facts(evaluation, used, sizes, about)
    show(json.dumps(report, indent=2) if fmt == "json" else ranking_report.table(report))
    if out is not None:
        ranking_report.write(report, out)


def _evaluate_injected(
    truth: Path,
    builder: QueryBuilder,
    ranked_by: dict[str, Any],
    executor: Executor | None,
    threshold: float | None,
    per_degree: float | None,
    about: dict[str, Any],
    out: Path | None,
    fmt: str,
) -> None:
    """Look for injected lenses, and for what else lies above the same threshold."""
    from scanner.queries import completeness_report
    from scanner.queries.injected_rows import read_rows
    from scanner.sources.truth_table import read_truth

    injected, level = read_truth(truth), per_degree or completeness_report.PER_DEGREE
    # Read before the pass, during which the file could change.
    truth_rows = read_rows(truth) if out is not None else None
    measured = completeness_report.measure_completeness(
        builder.snapshot, injected, **ranked_by, threshold=threshold, per_degree=level, executor=executor
    )
    if measured.search.elsewhere:
        click.echo(f"{measured.search.elsewhere} injected lenses are on no tile of the catalogue", err=True)
    report = completeness_report.facts(measured, {"injected": truth.name, **about})
    show(json.dumps(report, indent=2) if fmt == "json" else completeness_report.table(measured))
    if out is not None and truth_rows is not None:
        completeness_report.write(measured, report, out, truth_rows)
