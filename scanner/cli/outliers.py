"""``scanner outliers``: list the objects that look least like all others."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalogs.ranking import OUTLIER_METHODS
from scanner.cli.options import catalog_option, gallery_options, image_options, output_options, pass_options
from scanner.cli.output import DataCommand, emit

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from catalogs.search.tile_pass import Executor

DRAWN = 60


@click.command(cls=DataCommand)
@catalog_option("--catalog", "Catalogue to search.", lance=True)
@click.option(
    "--method",
    type=click.Choice(OUTLIER_METHODS),
    default=OUTLIER_METHODS[0],
    show_default=True,
    help="Measure of distance.",
)
@click.option("-k", default=100, show_default=True, type=click.IntRange(1), help="Number of objects to list.")
@click.option("--where", metavar="FILTER", help='Filter of the rows, such as "valid_fraction > 0.98 and snr > 10".')
@click.option(
    "--sample", default=20_000, show_default=True, type=click.IntRange(3), help="Number of objects to compare with."
)
@click.option(
    "--neighbour",
    default=10,
    show_default=True,
    type=click.IntRange(1),
    help="Rank of the neighbour whose distance is the score (knn only).",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the sample.")
@image_options
@gallery_options(f"PNG or PDF of the first {DRAWN} (needs --root).")
@pass_options
@output_options
def outliers(
    catalog: Path | str,
    method: str,
    k: int,
    where: str | None,
    sample: int,
    neighbour: int,
    seed: int,
    root: Path | None,
    survey: str | None,
    gallery: Path | None,
    band_names: bool,
    executor: AbstractContextManager[Executor | None],
    fmt: str,
    output: Path | None,
) -> None:
    """List the primary objects whose embeddings are farthest from those of the others.

    Every object is compared with a random sample, in one pass. mahalanobis is the distance from the mean of the sample,
    each direction in units of its own scatter (1 is typical). knn is the distance to the 10th nearest object of the
    sample. Column rarer_than is the share of the sample with a smaller distance.

    Most outliers are artefacts: satellite trails, edges, saturated stars. Column suspect flags cutouts with a hole or
    an edge. A filter with --where applies to the sample too.

    \b
    Examples:
      scanner outliers -k 200 --where "valid_fraction > 0.98 and snr > 10" -f csv -o outliers.csv
      scanner outliers --method knn --root /data/unions --gallery outliers.png
      scanner outliers -k 24 --root /data/unions --gallery outliers.pdf --band-names
      scanner outliers --method knn --workers 4 -f csv -o outliers.csv
    """
    import catalogs
    from catalogs.ranking.outliers import outliers as list_outliers

    if gallery and root is None:
        raise click.UsageError("--gallery needs --root, the folder of the images.")
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    catalogue = catalogs.open(catalog)
    settings: dict[str, Any] = {
        "method": method,
        "k": k,
        "where": where,
        "sample": sample,
        "neighbour": neighbour,
        "seed": seed,
    }
    with executor as running:
        table = list_outliers(catalogue, **settings, executor=running)
    # The list is written before images are read, so that an error in these does not lose it.
    emit(table, fmt, output)
    if gallery is not None and root is not None:
        from scanner.queries import answer_gallery
        from scanner.windows.by_position import WindowReader

        answer_gallery.draw(
            [None], [table[:DRAWN]], WindowReader.of_catalogue(catalogue, root, survey), gallery, band_names=band_names
        )
