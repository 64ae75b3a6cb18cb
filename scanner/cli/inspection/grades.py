"""``scanner inspect merge``, ``agree``, ``gallery`` and ``negatives``: what the grades of all say together."""

from __future__ import annotations

from pathlib import Path

import click

from scanner.cli.options import FIGURE, file_option, format_option, output_options
from scanner.cli.output import DataCommand, emit, show
from scanner.hunt import VERDICT_FORMATS
from scanner.inspection import PARTS, PRIOR

SOME_CONFLICT = 3
COMPLETENESS = PARTS[-1]
PROJECT = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(cls=DataCommand)
@click.argument("project", type=PROJECT)
@click.argument("copy", nargs=-1, required=True, type=PROJECT)
@click.option("--any-clock", is_flag=True, help="Take verdicts whatever their time says.")
def merge(project: Path, copy: tuple[Path, ...], any_clock: bool) -> int:
    """Bring back what was graded on copies of a project, such as on laptops.

    Nothing is added twice, and a copy stays as it is. What an inspector graded differently on two copies is a conflict:
    neither grade counts until the inspector grades the object again. Exit code 3: there are conflicts.

    \b
    Examples:
      scanner inspect merge hunt laptop-ann laptop-bob
      scanner inspect merge hunt laptop-cid --any-clock
    """
    from scanner.hunt.project import Project
    from scanner.inspection import merge as merging
    from scanner.inspection.progress import open_ledger

    opened = Project(project)
    for folder in copy:
        done = merging.merge(opened, folder, any_clock)
        show(f"{folder}: {done.added} added, {done.known} known, {len(done.conflicts)} conflicts")
    conflicts = open_ledger(opened).conflicts()
    for one in conflicts:
        about = f"{one.inspector}, object {one.first.object_id} at {one.first.ra:.6f} {one.first.dec:+.6f}"
        first, second = (f"{said.grade} {said.class_}".strip() for said in (one.first, one.second))
        click.echo(f"Conflict: {about}: {first} and {second}", err=True)
    return SOME_CONFLICT if conflicts else 0


@click.command(cls=DataCommand)
@click.argument("project", type=PROJECT)
@click.option("--show", "part", type=click.Choice(PARTS), default=PARTS[0], show_default=True, help="What to list.")
@click.option(
    "--prior",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=PRIOR,
    show_default=True,
    help="Share of lenses among the objects, before anybody looks, for SWAP.",
)
@click.option("--figure", type=FIGURE, help="PNG or PDF of the completeness of the eye.")
@output_options
def agree(project: Path, part: str, prior: float, figure: Path | None, fmt: str, output: Path | None) -> None:
    """List what the inspectors say together of each object, the most disputed first.

    objects: mean grade with its error, SWAP posterior, and the grade of each inspector. inspectors: the skill of each,
    from fakes and duds. summary: Krippendorff's alpha with its 95 % interval, and objects by grade. completeness: the
    share of the lenses of known truth, painted and known, that is found: of all, and in bins of Einstein radius,
    signal-to-noise ratio and more.

    \b
    Examples:
      scanner inspect agree hunt -f csv -o consensus.csv
      scanner inspect agree hunt --show inspectors
      scanner inspect agree hunt --show completeness --figure eye.pdf
    """
    from scanner.hunt.project import Project
    from scanner.inspection import eye, tables
    from scanner.inspection.consensus import Consensus
    from scanner.inspection.plan import LENS
    from scanner.inspection.planning import count_withheld

    consensus = Consensus.of(Project(project), prior)
    if part == COMPLETENESS or figure is not None:
        withheld = count_withheld(consensus.plan).items()
        lenses = sum(count for number, count in withheld if consensus.plan.project.round(number).record.truth == LENS)
        if lenses:
            why = "since the plan has their galaxies without or with what was painted"
            click.echo(f"The completeness leaves out {lenses} lenses that were withheld, {why}.", err=True)
    if figure is not None:
        from scanner.figures.completeness import draw_found

        total, bins = eye.measure_eye(consensus)
        title = f"{total.found} of {total.total} lenses of known truth graded as lenses"
        draw_found(bins, title, figure)
    table = tables.PARTS[part](consensus)
    emit(table, fmt, output)


@click.command(cls=DataCommand)
@click.argument("project", type=PROJECT)
@click.option("-o", "--output", required=True, type=FIGURE, help="PNG or PDF to draw.")
@click.option("--grade", "grades", multiple=True, help="Grade to show.  [default: those that the scheme keeps]")
@click.option("--band-names", is_flag=True, help="Names of the red, green and blue bands on each cutout.")
def gallery(project: Path, output: Path, grades: tuple[str, ...], band_names: bool) -> None:
    """Draw the candidates by grade: the figure of a paper.

    \b
    Examples:
      scanner inspect gallery hunt -o candidates.pdf
      scanner inspect gallery hunt -o grade-a.png --grade A
    """
    from scanner.hunt.project import Project
    from scanner.inspection.consensus import Consensus
    from scanner.inspection.gallery import draw_grades

    count = draw_grades(Consensus.of(Project(project)), output, grades, band_names)
    show(f"{output}: {count} objects")


@click.command(cls=DataCommand)
@click.argument("project", type=PROJECT)
@file_option
@format_option(VERDICT_FORMATS)
def negatives(project: Path, output: Path | None, fmt: str) -> None:
    """Export what was graded and rejected, with its kind: hard negatives of the next training.

    python -m training cutouts --negatives takes the file.

    \b
    Examples:
      scanner inspect negatives hunt -o negatives.csv
      scanner inspect negatives hunt --format parquet -o negatives.parquet
    """
    from catalogs.atomic import replacing
    from scanner.hunt.export import encode
    from scanner.hunt.project import Project
    from scanner.inspection.tables import negative_table

    written = encode(negative_table(Project(project)), fmt)
    if output is None:
        show(written)
    else:
        with replacing(output, clear=True) as temporary:
            temporary.write_bytes(written)
