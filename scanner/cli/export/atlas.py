"""``scanner export atlas``: a catalogue as a Parquet file for Embedding Atlas."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from scanner.cli.options import catalog_option
from scanner.cli.output import DataCommand, show
from scanner.system.output_path import OUTPUT_FILE


@click.command(cls=DataCommand)
@click.argument("out", type=OUTPUT_FILE)
@catalog_option("--catalog", "Catalogue to export.")
@click.option("--where", metavar="FILTER", help='Filter of the rows, such as "mag_auto < 23".')
@click.option("--map", "name", metavar="NAME", help="Map of the catalogue whose coordinates are added.")
def atlas(out: Path, catalog: Path, where: str | None, name: str | None) -> None:
    """Write the objects of a catalogue to the Parquet file OUT, for Embedding Atlas.

    The file has every object once, with all columns and the embedding as a list. With --map, projection_x and
    projection_y are its place on a map, so that the viewer need not compute one. The viewer is not installed with this
    package: embedding-atlas OUT --vector embedding, or --x projection_x --y projection_y.

    \b
    Examples:
      scanner export atlas objects.parquet --catalog embeddings
      scanner export atlas bright.parquet --where "mag_auto < 21" --map umap
    """
    import catalogs
    from catalogs.viewers import write_atlas

    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    written = write_atlas(catalogs.open(catalog), out, where, name)
    show(f"{out}: {written.objects:,} objects, {written.left_out:,} without an embedding or a place left out")
