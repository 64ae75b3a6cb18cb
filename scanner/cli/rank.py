"""``scanner rank``: which objects look most like these examples?"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import catalog_option, emit, output_options

if TYPE_CHECKING:
    from catalogs.rank import Examples
    from catalogs.store import Catalogue

METHODS = ("auto", "centroid", "nearest", "probe")
DRAWN = 60


@click.command()
@catalog_option("--catalog", "Catalogue to rank.")
@click.option(
    "--like",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of examples, such as known lenses, with ra and dec (CSV, FITS, VOTable, Parquet, .cat).",
)
@click.option(
    "--unlike",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of counterexamples. [default: objects of the catalogue drawn at random]",
)
@click.option("--method", type=click.Choice(METHODS), default="auto", show_default=True, help="How to score.")
@click.option("-k", default=100, show_default=True, type=click.IntRange(1), help="Objects to list.")
@click.option(
    "--radius",
    default=3.0,
    show_default=True,
    type=click.FloatRange(0),
    help="How far an example's object may be, in arcsec.",
)
@click.option("--where", metavar="FILTER", help='Only these rows, such as "mag_r < 21".')
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Where the images are.")
@click.option(
    "--gallery", type=click.Path(dir_okay=False, path_type=Path), help=f"PNG of the first {DRAWN} (with --root)."
)
@output_options
def rank(
    catalog: Path,
    like: Path,
    unlike: Path | None,
    method: str,
    k: int,
    radius: float,
    where: str | None,
    root: Path | None,
    gallery: Path | None,
    fmt: str,
    output: Path | None,
) -> None:
    """Rank every primary object of a catalogue by how much it looks like the examples.

    centroid scores along the line from the mean of the others to that of the examples, nearest by the similarity to the
    nearest example, probe by logistic regression (and adds a probability, good for the order only); auto takes nearest
    from 8 examples on, centroid below. The examples are listed, as known. Positions that are no object are reported.

    \b
    Examples:
      scanner rank --like lenses.csv -k 200 --where "mag_auto < 22" -f csv -o candidates.csv
      scanner rank --like lenses.csv --unlike spirals.csv --method probe --root /data/unions --gallery candidates.png
    """
    import catalogs
    from catalogs import rank as ranking

    from .. import query as questions
    from .. import survey as surveys

    if gallery and root is None:
        raise click.UsageError("--gallery needs --root, the folder of the images.")
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    catalogue = catalogs.open(catalog)
    examples = _examples(catalogue, like, radius)
    others = _examples(catalogue, unlike, radius) if unlike else None
    table = ranking.rank(catalogue, examples, others, method=method, k=k, where=where)
    emit(table, fmt, output)
    if gallery is not None and root is not None:
        from .. import gallery as pictures

        first = questions.Query(
            "example", examples.vectors[0], float(examples.ra[0]), float(examples.dec[0]), int(examples.object_id[0])
        )
        plan = surveys.load(catalogue.info.survey)
        pictures.draw([first], [table[:DRAWN]], plan, catalogue.info.contract, root, gallery)


def _examples(catalogue: Catalogue, path: Path, radius: float) -> Examples:
    """The objects of a table of positions; those that are none are said on stderr."""
    from catalogs import rank as ranking

    from .. import query as questions

    places = list(questions.places(None, None, None, path))
    examples = ranking.match(catalogue, [one.ra for one in places], [one.dec for one in places], radius)
    click.echo(f"{path}: {len(places)} positions, {len(examples)} objects", err=True)
    for ra, dec, code in examples.unmatched:
        click.echo(f"  no object at {ra:.6f} {dec:+.6f} [{code}]", err=True)
    return examples
