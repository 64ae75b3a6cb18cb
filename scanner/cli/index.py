"""``scanner index``: bring a catalogue's index up to date."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from .options import catalog_option


@click.command()
@catalog_option("--catalog", "Catalogue to index.")
@click.option("--trees", type=click.IntRange(1, 1000), help="Annoy trees a shard. [default: as measured]")
@click.option("-f", "--format", "fmt", type=click.Choice(["text", "json"]), default="text", show_default=True)
def index(catalog: Path, trees: int | None, fmt: str) -> None:
    """Make a catalogue fast to search. Only shards with new or changed tiles are built again.

    A query works without an index too, and always looks at every tile: those that the index does not cover are
    compared in full. It pays off above a few hundred thousand objects.

    \b
    Examples:
      scanner index --catalog embeddings
      scanner index --trees 20 --format json
    """
    import catalogs
    from catalogs import index as indexes

    began = time.perf_counter()
    report = indexes.build(catalogs.open(catalog), trees=trees or indexes.TREES)
    if fmt == "json":
        click.echo(json.dumps(asdict(report)))
    else:
        click.echo(
            f"{report.rows:,} objects of {report.tiles:,} tiles indexed: {len(report.built)} shards built, "
            f"{len(report.kept)} kept, {report.bytes / 1e6:.1f} MB, {time.perf_counter() - began:.1f} s"
            + (f"; {report.skipped} objects have no sound vector" if report.skipped else "")
        )
