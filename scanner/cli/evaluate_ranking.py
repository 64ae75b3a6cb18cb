"""``scanner evaluate-ranking``: measure how well known lenses are found by a few of them."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import click

from catalogs.ranking import METHODS
from catalogs.render import FACT_FORMATS
from scanner.cli.options import catalog_option, encoder_options, format_option, image_options
from scanner.cli.output import DataCommand, show

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=DataCommand)
@catalog_option("--catalog", "Catalogue to rank.")
@click.option("--truth", required=True, type=FILE, help="Table of known lenses, with ra and dec.")
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
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the draws.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for ranking.json and (with matplotlib) curve.png.",
)
@format_option(FACT_FORMATS)
def evaluate_ranking(
    catalog: Path,
    truth: Path,
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
    seed: int,
    out: Path | None,
    fmt: str,
) -> None:
    """Measure rankings on known lenses: rank by some of them, and see where the others come.

    Prints mean average precision, nDCG@10, and the recall and purity (precision) of lists of -k objects. Each has the
    95 % interval of a bootstrap over draws and lenses. Ranking by magnitude alone and by chance serve for comparison. A
    lens without an object in the catalogue is reported and not counted. All objects that are not known lenses count as
    wrong, so purity is a lower bound.

    \b
    Examples:
      scanner evaluate-ranking --truth lenses.csv --examples 10 --out evaluation
      scanner evaluate-ranking --truth truth.csv --label lens --like mine.csv --where "mag_auto < 21" -f json
    """
    import catalogs
    from catalogs.ranking.evaluation import EvaluationSettings, evaluate
    from catalogs.ranking.rank import available
    from scanner.queries import ranking_report
    from scanner.queries.examples import augment_examples, describe_examples, read
    from scanner.queries.query import QueryBuilder

    if augment and root is None:
        raise click.UsageError("--augment needs --root, the folder of the images.")
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    catalogue = catalogs.open(catalog)
    snapshot = catalogue.snapshot()
    # Lenses to be found must be objects of the catalogue, so they are read without a --root to embed others from.
    catalogued = QueryBuilder(snapshot, radius=radius)
    builder = QueryBuilder(snapshot, radius=radius, root=root, survey=survey, model=model, device=device)
    lenses = read(truth, catalogued, label=label)
    click.echo("\n".join(describe_examples(truth, lenses)), err=True)
    by_examples = read(like, builder, augment) if like else None
    if augment and not like:
        # Without --like each draw takes its examples from these lenses.
        lenses = augment_examples(lenses, builder)
    settings = EvaluationSettings(methods or available(catalogue), examples, draws, where, seed)  # type: ignore[arg-type]
    evaluation = evaluate(catalogue, lenses, settings, by_examples, snapshot)
    if evaluation.not_ranked:
        click.echo(f"{evaluation.not_ranked} lenses are not primary objects that pass the filter", err=True)
    about = {
        "truth": truth.name,
        "like": like.name if like else None,
        "model": catalogue.info.model,
        "augment": augment,
        "positions_without_object": len(lenses.unmatched),
    }
    report = ranking_report.facts(evaluation, settings, sizes, about)
    show(json.dumps(report, indent=2) if fmt == "json" else ranking_report.table(report))
    if out is not None:
        ranking_report.write(report, out)
