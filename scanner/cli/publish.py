"""``scanner publish``: write a catalogue as a HATS collection."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

import click

from catalogs.render import REPORT_FORMATS
from scanner.cli.options import catalog_option, format_option
from scanner.cli.output import DataCommand, show
from scanner.system.output_path import NEW_FOLDER


@click.command(cls=DataCommand)
@click.argument("out", type=NEW_FOLDER)
@catalog_option("--catalog", "Catalogue to publish.")
@click.option("--name", help="Name of the collection. [default: the survey's]")
@click.option("--where", metavar="FILTER", help='Filter of the rows, such as "mag_auto < 23".')
@click.option("--all-rows", is_flag=True, help="Include copies in overlapping tiles. [default: each object once]")
@click.option(
    "--rows-per-file",
    default=200_000,
    show_default=True,
    type=click.IntRange(1),
    help="Most rows of a file (a HEALPix pixel).",
)
@click.option(
    "--margin",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0, 60, min_open=True),
    help="Width of the margin around a pixel, in arcsec.",
)
@format_option(REPORT_FORMATS)
def publish(
    out: Path,
    catalog: Path,
    name: str | None,
    where: str | None,
    all_rows: bool,
    rows_per_file: int,
    margin: float,
    fmt: str,
) -> None:
    """Write a catalogue to the folder OUT as a HATS collection, which LSDB opens.

    It has a file for each HEALPix pixel, a margin for cross-matches, units and UCDs, and every object once. By default,
    LSDB does not load the embeddings. OUT appears when it is complete: to resume an interrupted run, repeat the
    command.

    \b
    Examples:
      scanner publish /archive/unions-embeddings --catalog embeddings
      scanner publish bright --name unions-bright --where "mag_auto < 21"
    """
    import catalogs
    from catalogs import hats
    from scanner.scan.progress import Bar, Quiet

    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    catalogue = catalogs.open(catalog)
    options = hats.Options(name or catalogue.info.survey, rows_per_file, margin, all_rows, where)
    # A bar that moves would fill a log file.
    with Bar(unit="file") if sys.stderr.isatty() else Quiet() as bar:
        report = hats.publish(catalogue, out, options, bar.reached)
    if fmt == "json":
        show(json.dumps({**asdict(report), "path": str(report.path)}))
    else:
        show(
            f"{report.path}: {report.rows:,} objects in {report.partitions:,} files, "
            f"{report.margin_rows:,} in margins, {report.bytes / 1e6:,.1f} MB"
        )
