"""``scanner hunt`` and ``scanner verdicts``: the folder of a hunt without its page."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from scanner.cli.options import catalog_option, format_option, image_options
from scanner.cli.output import DataCommand, show
from scanner.hunt import VERDICT_FORMATS

SOME_NOT_FOUND = 3


@click.command(cls=DataCommand)
@click.argument("project", type=click.Path(file_okay=False, path_type=Path))
@catalog_option("--catalog", "Catalogue of the objects.")
@click.option(
    "--list",
    "listed",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of candidates with ra and dec, in the order to inspect them (CSV, FITS, VOTable, Parquet, .cat).",
)
@click.option("--title", help="Title of the round. [default: the name of the list]")
@click.option(
    "--scheme",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML of the grades of a new project.",
)
@image_options
def hunt(
    project: Path,
    catalog: Path,
    listed: Path | None,
    title: str | None,
    scheme: Path | None,
    root: Path | None,
    survey: str | None,
) -> int:
    """Make the project of a hunt, or add a list of candidates to it, and cut their cutouts.

    The project is a folder that holds all that an inspector needs: scanner serve --project PROJECT shows it, on any
    machine. Cutouts are kept: run the command again to resume. Without --list it only cuts what is not cut yet.
    Exit code 3: some candidates are no object of the catalogue.

    \b
    Examples:
      scanner hunt lenses --list candidates.csv --root /data/unions
      scanner hunt lenses --root /data/unions
    """
    from tqdm import tqdm

    import catalogs
    from catalogs.search.matching import match
    from catalogs.store import rows
    from scanner.hunt.cutter import Cutter
    from scanner.hunt.project import Project
    from scanner.queries.query import read_table
    from scanner.windows.by_position import WindowReader

    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    catalogue = catalogs.open(catalog)
    opened = Project.create(project, scheme)
    missing = 0
    if listed is not None:
        snapshot = catalogue.snapshot()
        places = list(read_table(listed))
        found = match(snapshot, [one.ra for one in places], [one.dec for one in places])
        missing = len(found.unmatched)
        for one in found.unmatched:
            click.echo(f"Skipped: {listed.name}, row {one.name} [{one.code}]", err=True)
        objects = rows.of_ids(snapshot, found.object_id.tolist())
        made = opened.add_round(objects, title or listed.stem, str(listed), catalogue.info)
        show(f"Round {made.number}: {len(made)} objects")
    if root is not None:
        reader = WindowReader.of_catalogue(catalogue, root, survey)
        for number in opened.rounds():
            current = opened.round(number)
            with Cutter(reader, current.frame) as cutter, tqdm(total=len(current), desc=f"round {number}") as bar:
                for done in current.cut(cutter):
                    bar.update(done - bar.n)
            for tile, error in cutter.problems.items():
                click.echo(f"Tile {tile}: {error.message} [{error.code}]", err=True)
    return SOME_NOT_FOUND if missing else 0


@click.command(cls=DataCommand)
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@format_option(VERDICT_FORMATS)
def verdicts(project: Path, output: Path | None, fmt: str) -> None:
    """Export the verdicts of a hunt: a row for each object that was judged.

    A grade counts more than a triage, and a later verdict more than an earlier one. The column mark is what
    scanner rank --feedback reads.

    \b
    Examples:
      scanner verdicts lenses -o verdicts.csv
      scanner verdicts lenses --format parquet -o verdicts.parquet
    """
    from catalogs.atomic import replacing
    from scanner.hunt.export import encode
    from scanner.hunt.project import Project

    written = encode(Project(project).verdict_table(), fmt)
    if output is None:
        show(written)
    else:
        with replacing(output, clear=True) as temporary:
            temporary.write_bytes(written)
