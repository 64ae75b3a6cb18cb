"""``scanner broadcast``: send a list to TOPCAT, Aladin and other programs on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from scanner.cli.output import DataCommand, show

SOME_FAILED = 3


@click.command(cls=DataCommand)
@click.argument("listed", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="Name of the table in the other programs. [default: the file's name]")
def broadcast(listed: Path, name: str | None) -> int:
    """Send a list of objects by SAMP to every program on this machine that loads tables, such as TOPCAT and Aladin.

    FILE is a table with ra and dec, as query, rank, crossmatch and release write it. Exit code 3: a program did not
    load it.

    \b
    Examples:
      scanner broadcast candidates.csv
      scanner broadcast paper/candidates.fits --name "UNIONS candidates"
    """
    from scanner.candidates.crossmatch import read_list
    from scanner.candidates.samp import broadcast

    table, _, _ = read_list(listed)
    receivers = broadcast(table, name or listed.name)
    for one in receivers:
        show(f"{one.name}: {one.problem or f'{len(table)} rows'}")
    return SOME_FAILED if any(one.problem for one in receivers) else 0
