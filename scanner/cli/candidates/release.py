"""``scanner release``: the verdicts of a hunt as a folder for a referee, a journal and the CDS."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from scanner.candidates import DEFAULT_ACRONYM
from scanner.cli.options import image_options, known_option
from scanner.cli.output import DataCommand, show
from scanner.system.output_path import NEW_FOLDER

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
WITHOUT_CUTOUTS = 3


@click.command(cls=DataCommand)
@click.argument("out", type=NEW_FOLDER)
@click.option(
    "--project",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the hunt.",
)
@click.option(
    "--catalog",
    "catalog",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="SCANNER_CATALOG",
    help="Catalogue that the candidates are from, for the provenance; needed with --root.",
)
@image_options
@click.option("--acronym", default=DEFAULT_ACRONYM, show_default=True, help="Beginning of the objects' names.")
@click.option("--grade", "grades", multiple=True, help="Grade of candidates; may be repeated. [default: those kept]")
@click.option(
    "--confident", multiple=True, help="Grade that lenscat calls confident; may be repeated. [default: the best]"
)
@click.option("--title", help="Title of the paper, for the ReadMe.")
@click.option("--author", "authors", multiple=True, help='Author as "Surname N."; may be repeated.')
@click.option("--licence", default="CC-BY-4.0", show_default=True, help="Licence of the tables (SPDX).")
@click.option(
    "--reference", default="", help='Reference of the paper, such as "Author et al. (2027) - arXiv:2701.01234".'
)
@click.option("--name-inspectors", is_flag=True, help="Name the inspectors. [default: they are numbered]")
@known_option
@click.option("--add", "extra", type=FILE, help="Table whose columns are added by position, as crossmatch writes it.")
def release(
    out: Path,
    project: Path,
    catalog: Path | None,
    root: Path | None,
    survey: str | None,
    acronym: str,
    grades: tuple[str, ...],
    confident: tuple[str, ...],
    title: str | None,
    authors: tuple[str, ...],
    licence: str,
    reference: str,
    name_inspectors: bool,
    known_lists: tuple[Path, ...],
    extra: Path | None,
) -> int:
    """Write the verdicts of a hunt to the folder OUT as a paper, the CDS and other lists of lenses take them.

    OUT gets the candidates, every inspected object with all its grades, and every verdict: as VOTable and FITS with
    units and UCDs, and in the CDS's format with a ReadMe. It also gets mosaics by grade, cutouts, rows for lenscat and
    SLED, and the provenance. Objects that were marked as fakes are left out of all tables.

    The command refuses a project with objects that lack a grade, or with inspectors who owe one: until then they must
    not see the grades of the others. OUT appears when it is complete. Exit code 3: some candidates have no pixels.

    Without --root there are no cutouts as FITS, and the mosaics show those of the project, without a compass.

    \b
    Examples:
      scanner release paper --project hunt --catalog embeddings --root /data/unions
      scanner release paper --project hunt --grade A --author "Doe J." --author "Roe R." --add redshifts.csv
    """
    import catalogs
    from scanner.candidates.cds import Paper
    from scanner.candidates.crossmatch import read_list
    from scanner.candidates.release import ReleaseOptions
    from scanner.candidates.release import release as write_release
    from scanner.hunt.project import Project
    from scanner.queries.known_lenses import read_known
    from scanner.windows.by_position import WindowReader

    if root is not None and catalog is None:
        raise click.UsageError("--root needs --catalog, whose model says what a cutout is.")
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    opened = Project(project)
    catalogue = None if catalog is None else catalogs.open(catalog)
    info = None if catalogue is None else catalogue.info
    reader = None if root is None or catalogue is None else WindowReader.of_catalogue(catalogue, root, survey)
    added = None
    if extra is not None:
        added, ra, dec = read_list(extra)
        added["ra"], added["dec"] = ra, dec
    title = title or f"Strong lens candidates in {acronym or 'a survey'}"
    report = write_release(
        opened,
        out,
        ReleaseOptions(
            acronym=acronym,
            paper=Paper(title, authors, licence),
            grades=grades,
            confident=confident,
            name_inspectors=name_inspectors,
            reference=reference,
            sources={f"known_{number}": path for number, path in enumerate(known_lists, 1)}
            | ({} if extra is None else {"added": extra}),
        ),
        info=info,
        reader=reader,
        known=read_known(known_lists),
        extra=added,
    )
    counts = ", ".join(f"{count} of grade {grade}" for grade, count in report.candidates.items())
    show(f"{report.path}: {report.inspected} inspected objects, candidates: {counts}")
    if report.tests:
        without = "lenscat.csv and sled.json leave them out"
        click.echo(f"{report.tests} of the candidates are tests of the inspectors: {without}.", err=True)
    if reader is None:
        click.echo("There are no cutouts as FITS: these need --root.", err=True)
    missing = max(report.without_pixels, report.without_cutout)
    if missing:
        click.echo(f"{missing} candidates have no pixels, and no cutout", err=True)
    return WITHOUT_CUTOUTS if missing else 0
