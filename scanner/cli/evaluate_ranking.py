"""``scanner evaluate-ranking``: how well are known lenses found by a few of them?"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import click

from catalogs.ranking import METHODS
from scanner.cli.options import TABLE_FORMATS, catalog_option, encoder_options, image_options

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@catalog_option("--catalog", "Catalogue to rank.")
@click.option("--truth", required=True, type=FILE, help="Table of known lenses, with ra and dec.")
@click.option("--label", metavar="WORD", help="Only rows of --truth whose column label is this, such as lens.")
@click.option("--like", type=FILE, help="Rank by these examples, once. [default: draws from the truth]")
@click.option("--method", "methods", multiple=True, type=click.Choice(METHODS), help="May be repeated. [default: all]")
@click.option("--examples", default=10, show_default=True, type=click.IntRange(1), help="Lenses to rank by, of a draw.")
@click.option("--draws", default=20, show_default=True, type=click.IntRange(1), help="Rankings to try.")
@click.option(
    "-k", "sizes", multiple=True, type=click.IntRange(1), default=(10, 100, 1000), show_default=True, help="List sizes."
)
@click.option("--radius", default=3.0, show_default=True, type=click.FloatRange(0), help="How far an object may be.")
@click.option("--where", metavar="FILTER", help='Rank only these rows, such as "mag_r < 21".')
@click.option("--augment", is_flag=True, help="Turn and mirror the examples, eight ways each (with --root).")
@image_options
@encoder_options
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the draws.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for ranking.json and (with matplotlib) curve.png.",
)
@click.option("-f", "--format", "fmt", type=click.Choice(TABLE_FORMATS), default="table", show_default=True)
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
    """Measure rankings on lenses that are known: rank by some of them, and see where the others come.

    Prints mean average precision, nDCG@10, and the recall and purity (precision) of lists of -k objects, each with the
    95 % interval of a bootstrap over draws and lenses, beside ranking by magnitude alone and by chance. A lens that the
    catalogue has no object for is reported and not counted; what is nobody's known lens counts as wrong, so purity is a
    lower bound.

    \b
    Examples:
      scanner evaluate-ranking --truth lenses.csv --examples 10 --out evaluation
      scanner evaluate-ranking --truth truth.csv --label lens --like mine.csv --where "mag_auto < 21" -f json
    """
    import catalogs
    from catalogs.ranking import evaluation as trials
    from scanner.queries import query, ranking_report
    from scanner.queries.examples import augment_examples, describe_examples, read

    if augment and root is None:
        raise click.UsageError("--augment needs --root, the folder of the images.")
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    catalogue = catalogs.open(catalog)
    snapshot = catalogue.snapshot()
    without_spots = query.QueryBuilder(snapshot, radius=radius)
    builder = query.QueryBuilder(snapshot, radius=radius, root=root, survey=survey, model=model, device=device)
    known = read(truth, without_spots, label=label)
    click.echo("\n".join(describe_examples(truth, known)), err=True)
    given = read(like, builder, augment) if like else None
    if augment and not like:
        known = augment_examples(known, builder)
    trial = trials.Trial(tuple(methods or METHODS), examples, draws, where, seed)  # type: ignore[arg-type]
    evaluation = trials.evaluate(catalogue, known, trial, given)
    if evaluation.not_ranked:
        click.echo(f"{evaluation.not_ranked} lenses are not primary objects that pass the filter", err=True)
    about = {
        "truth": truth.name,
        "like": like.name if like else None,
        "model": catalogue.info.model,
        "augment": augment,
        "positions_without_object": len(known.unmatched),
    }
    found = ranking_report.facts(evaluation, trial, sizes, about)
    click.echo(json.dumps(found, indent=2) if fmt == "json" else ranking_report.table(found))
    if out is not None:
        ranking_report.write(found, out)
