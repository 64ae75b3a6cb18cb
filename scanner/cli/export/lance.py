"""``scanner export lance``: write a catalogue as a Lance dataset, which many machines can search."""

from __future__ import annotations

from pathlib import Path

import click

from scanner.cli.options import catalog_option
from scanner.cli.output import DataCommand


@click.command(cls=DataCommand)
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@catalog_option("--catalog", "Catalogue to export.")
def lance(out: Path, catalog: Path) -> None:
    """Write a catalogue to the folder OUT as a Lance dataset."""
