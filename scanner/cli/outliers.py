"""``scanner outliers``: which objects look least like all others?"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from scanner.cli.options import catalog_option, emit, image_options, output_options

METHODS = ("mahalanobis", "knn")
DRAWN = 60


@click.command()
@catalog_option("--catalog", "Catalogue to look through.")
@click.option("--method", type=click.Choice(METHODS), default=METHODS[0], show_default=True, help="What far means.")
@click.option("-k", default=100, show_default=True, type=click.IntRange(1), help="Objects to list.")
@click.option("--where", metavar="FILTER", help='Only these rows, such as "valid_fraction > 0.98 and snr > 10".')
@click.option(
    "--sample", default=20_000, show_default=True, type=click.IntRange(3), help="Objects that say what is usual."
)
@click.option(
    "--neighbour", default=10, show_default=True, type=click.IntRange(1), help="Whose distance counts, by knn."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the sample.")
@image_options
@click.option(
    "--gallery", type=click.Path(dir_okay=False, path_type=Path), help=f"PNG of the first {DRAWN} (with --root)."
)
@output_options
def outliers(
    catalog: Path,
    method: str,
    k: int,
    where: str | None,
    sample: int,
    neighbour: int,
    seed: int,
    root: Path | None,
    survey: str | None,
    gallery: Path | None,
    fmt: str,
    output: Path | None,
) -> None:
    """List the primary objects whose embeddings are farthest from those of the others.

    A random sample says what is usual, then every object is compared with it in one pass. mahalanobis: the distance
    from the mean, each direction in units of its own scatter (1 is typical). knn: the distance to the 10th nearest of
    the sample. Column rarer_than is the share of the sample that is nearer in.

    Unusual is mostly trouble: satellite trails, edges, saturated stars. Column suspect marks windows with a hole or an
    edge; --where leaves them out (before what is usual is worked out).

    \b
    Examples:
      scanner outliers -k 200 --where "valid_fraction > 0.98 and snr > 10" -f csv -o outliers.csv
      scanner outliers --method knn --root /data/unions --gallery outliers.png
    """
    import catalogs
    from catalogs.ranking import outliers as far_out

    if gallery and root is None:
        raise click.UsageError("--gallery needs --root, the folder of the images.")
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    catalogue = catalogs.open(catalog)
    table = far_out.outliers(catalogue, method=method, k=k, where=where, sample=sample, neighbour=neighbour, seed=seed)
    emit(table, fmt, output)
    if gallery is not None and root is not None:
        from scanner.queries import answer_gallery
        from scanner.windows.by_position import WindowReader

        answer_gallery.draw([None], [table[:DRAWN]], WindowReader.of_catalogue(catalogue, root, survey), gallery)
