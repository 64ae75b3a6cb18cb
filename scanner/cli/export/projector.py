"""``scanner export projector``: a sample of a catalogue as TSVs for TensorFlow's projector."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from scanner.cli.options import catalog_option
from scanner.cli.output import DataCommand, show
from scanner.system.output_path import OUTPUT_FOLDER


@click.command(cls=DataCommand)
@click.argument("out", type=OUTPUT_FOLDER)
@catalog_option("--catalog", "Catalogue to export.")
@click.option("--where", metavar="FILTER", help='Filter of the rows, such as "mag_auto < 23".')
@click.option("--most", default=10_000, show_default=True, type=click.IntRange(2), help="Most objects to write.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the choice of objects.")
def projector(out: Path, catalog: Path, where: str | None, most: int, seed: int) -> None:
    """Write a random sample of a catalogue to the folder OUT, for TensorFlow's embedding projector.

    OUT gets vectors.tsv, metadata.tsv and config.json. Load the first two at projector.tensorflow.org, or serve the
    folder to a projector of your own.

    \b
    Examples:
      scanner export projector projector --catalog embeddings
      scanner export projector bright --where "mag_auto < 21" --most 2000
    """
    import catalogs
    from catalogs.viewers import write_projector

    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    written = write_projector(catalogs.open(catalog), out, where, most, seed)
    show(f"{out}: {written.objects:,} objects")
