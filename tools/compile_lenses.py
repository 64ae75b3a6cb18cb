"""Compile ``catalogs/lenses/known.csv.gz``: ``python -m tools.compile_lenses SOURCE [-o OUT]``.

SOURCE is ``lenscat/data/catalog.csv`` (or the same, gzipped) of the PyPI package ``lenscat``. The same source gives the
same bytes. ``catalogs.lenses.lenscat`` says what becomes of its rows.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable
from dataclasses import astuple, fields
from pathlib import Path

import click

from catalogs.atomic import replacing
from catalogs.lenses import DATA, SET_APART
from catalogs.lenses.lenscat import Lens, merged, read


@click.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default=DATA, show_default=True)
def main(source: Path, output: Path) -> None:
    """Compile the known-lens list from lenscat's catalog.csv (or the same, gzipped)."""
    rows = read(source)
    lenses = merged(rows)
    with replacing(output) as temporary:
        temporary.write_bytes(packed(lenses))
    apart = sum(lens.kind == SET_APART for lens in lenses)
    click.echo(f"{len(rows):,} rows: {len(lenses) - apart:,} lenses, {apart:,} of cluster catalogues, in {output}")


def packed(lenses: Iterable[Lens]) -> bytes:
    """Format the rows as gzipped CSV, without a time stamp."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name" if field.name == "names" else field.name for field in fields(Lens)])
    writer.writerows([_cell(value) for value in astuple(lens)] for lens in lenses)
    return gzip.compress(text.getvalue().encode(), 9, mtime=0)


def _cell(value: object) -> str:
    return "" if value is None else " | ".join(value) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    main()
