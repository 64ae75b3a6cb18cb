"""``scanner crossmatch``: add the columns of another table, or of a HATS collection, to a list of objects."""

from __future__ import annotations

from pathlib import Path

import click

from scanner.cli.options import output_options
from scanner.cli.output import DataCommand, emit


@click.command(cls=DataCommand)
@click.argument("source", metavar="FILE|HATS", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--list",
    "listed",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="List of objects to add columns to (CSV, FITS, VOTable, Parquet, .cat).",
)
@click.option(
    "--radius",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 3600, min_open=True),
    help="Largest distance of a counterpart, in arcsec.",
)
@click.option("--columns", metavar="A,B,...", help="Columns to add. [default: all]")
@click.option("--prefix", help="Text before the name of each new column. [default: the file's name and _]")
@click.option("--epoch", type=float, metavar="YEAR", help="Epoch of the list's images, to which positions are moved.")
@click.option("--table-epoch", type=float, metavar="YEAR", help="Epoch of the table. [default: its column ref_epoch]")
@click.option("--ignore-motion", is_flag=True, help="Match positions as they are, though there are proper motions.")
@output_options
def crossmatch(
    source: Path,
    listed: Path,
    radius: float,
    columns: str | None,
    prefix: str | None,
    epoch: float | None,
    table_epoch: float | None,
    ignore_motion: bool,
    fmt: str,
    output: Path | None,
) -> None:
    """Add the columns of a table, or of a HATS collection, to a list of objects by position.

    Every row of the list stays, in its order, with the columns of the nearest row of the table within --radius, its
    distance, and the number of rows within the radius. Where there is none, numbers are NaN and texts empty.

    A table with proper motions (pmra and pmdec, as those of Gaia and SIMBAD) is moved to --epoch, the year of the
    images; standard error says how. Its own epoch is in its column ref_epoch, or in --table-epoch.

    \b
    Examples:
      scanner crossmatch gaia.fits --list candidates.csv --epoch 2018.5 --columns source_id,parallax -f csv -o stars.csv
      scanner crossmatch desi.parquet --list candidates.csv --columns Z,ZWARN --prefix desi_ -f csv -o redshifts.csv
      scanner crossmatch /archive/gaia_dr3 --list candidates.csv --epoch 2018.5 -f votable -o matched.vot
    """
    from scanner.candidates.crossmatch import MatchOptions, crossmatch, read_list

    table, ra, dec = read_list(listed)
    chosen = None if columns is None else tuple(name.strip() for name in columns.split(",") if name.strip())
    options = MatchOptions(
        radius=radius,
        columns=chosen,
        prefix=f"{source.name.split('.')[0]}_" if prefix is None else prefix,
        epoch=epoch,
        table_epoch=table_epoch,
        ignore_motion=ignore_motion,
    )
    matched = crossmatch(table, ra, dec, source, options)
    for note in matched.notes:
        click.echo(note, err=True)
    click.echo(
        f"{matched.count:,} of {len(matched.table):,} rows have a counterpart within {radius:g} arcsec", err=True
    )
    emit(matched.table, fmt, output)
