"""``scanner query``: the objects that look most like a given one."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from scanner.cli.options import (
    DEC,
    RA,
    REGION,
    catalog_option,
    encoder_options,
    gallery_options,
    image_options,
    output_options,
)
from scanner.cli.output import DataCommand, emit

SOME_UNANSWERED = 3


@click.command(cls=DataCommand)
@catalog_option("--catalog", "Catalogue to search.", lance=True)
@click.option("--ra", type=RA, help="Right ascension: degrees, or hours as 14:00:05.2.")
@click.option("--dec", type=DEC, help="Declination: degrees, or -05:10:00.")
@click.option("--name", help="Name of an object, looked up on-line through Sesame.")
@click.option("--id", "object_id", type=int, help="object_id of an object of the catalogue.")
@click.option(
    "--positions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of positions with columns ra and dec (CSV, FITS, VOTable, Parquet, .cat).",
)
@click.option(
    "--cutout",
    "cutouts",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="FITS cutout of your own; may be repeated.",
)
@click.option("-k", default=10, show_default=True, type=click.IntRange(1), help="Number of neighbours.")
@click.option(
    "--radius",
    default=3.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Largest distance of the object from the position, in arcsec.",
)
@click.option("--where", metavar="FILTER", help='Filter of the rows, such as "mag_r < 21 and is_primary".')
@click.option("--near", type=REGION, metavar="RA,DEC,RADIUS", help="Region of the neighbours; the radius in arcsec.")
@image_options
@encoder_options
@gallery_options("PNG or PDF of the cutouts (needs --root).")
@output_options
def query(
    catalog: Path | str,
    ra: float | None,
    dec: float | None,
    name: str | None,
    object_id: int | None,
    positions: Path | None,
    cutouts: tuple[Path, ...],
    k: int,
    radius: float,
    where: str | None,
    near: tuple[float, float, float] | None,
    root: Path | None,
    survey: str | None,
    model: str | None,
    device: str,
    gallery: Path | None,
    band_names: bool,
    fmt: str,
    output: Path | None,
) -> int:
    """Find the objects that look most like the one at a position.

    The query is the nearest object within --radius. If the catalogue has none, the spot itself is embedded from its
    tile under --root. The answers to several queries have a column "query". Exit code 3: some queries had no answer.

    \b
    Examples:
      scanner query --ra 194.0567 --dec 56.0333 -k 20
      scanner query --ra 14:00:05.1 --dec -05:10:00 --format csv -o neighbours.csv
      scanner query --positions lenses.csv --where "mag_r < 21" --format votable -o like.vot
      scanner query --id 217292000017 --near 210.0,54.3,900 --where "is_primary"
      scanner query --ra 194.0567 --dec 56.0333 --root /data/unions --gallery like.png
      scanner query --ra 194.0567 --dec 56.0333 --root /data/unions --gallery paper.pdf --band-names
    """
    import catalogs
    from scanner.queries.query import QueryBuilder, ask, collect_positions, describe_query, join_answers

    if (ra is None) != (dec is None):
        raise click.UsageError("--ra and --dec go together.")
    if gallery and root is None:
        raise click.UsageError("--gallery needs --root, the folder of the images.")
    # ra stands for dec too: they go together.
    if all(given in (None, ()) for given in (ra, name, object_id, positions, cutouts)):
        raise click.UsageError("Give --ra and --dec, --name, --id, --positions or --cutout.")
    # Messages go to stderr, so that stdout holds nothing but the answers.
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    snapshot = catalogs.open(catalog).snapshot()
    builder = QueryBuilder(snapshot, radius=radius, root=root, survey=survey, model=model, device=device)
    places = list(collect_positions(ra, dec, name, positions))
    if not places and object_id is None and not cutouts:
        raise click.UsageError(f"There is no position to search by: {positions} has no rows.")
    queries, complete = builder.gather(places, [object_id] if object_id is not None else [], cutouts)
    for one in queries:
        click.echo(f"Asked: {describe_query(one)}", err=True)
    answers = ask(snapshot, queries, k, where, near)
    emit(join_answers(queries, answers), fmt, output)
    if gallery is not None and root is not None:
        from scanner.queries import answer_gallery

        answer_gallery.draw(queries, answers, builder.windows(), gallery, band_names=band_names)
    return 0 if complete else SOME_UNANSWERED
