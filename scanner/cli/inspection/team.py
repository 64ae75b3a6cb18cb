"""``scanner inspect invite``, ``fakes``, ``plan`` and ``status``: who is in the team, and who grades what."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from catalogs.render import FORMATS
from scanner.cli.options import catalog_option, format_option, image_options
from scanner.cli.output import DataCommand, emit, show
from scanner.inspection import TRUTHS

SOME_NOT_FOUND = 3
PROJECT = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(cls=DataCommand)
@click.argument("project", type=PROJECT)
@click.argument("name", nargs=-1, required=True)
@click.option("--chair", is_flag=True, help="A chair sees all grades, gives the final ones, and is assigned nothing.")
@click.option("--renew", is_flag=True, help="Another token for somebody who is in the team.")
def invite(project: Path, name: tuple[str, ...], chair: bool, renew: bool) -> None:
    """Add people to the team of a project, and print the token of each.

    A token is printed once, and kept nowhere. It opens the page of scanner serve in the name of its owner: the address
    is http://HOST:PORT/?token=TOKEN. A name has small letters, digits, _ and -.

    \b
    Examples:
      scanner inspect invite hunt ann bob cid
      scanner inspect invite hunt --chair eve
      scanner inspect invite hunt --renew bob
    """
    from scanner.hunt.project import Project
    from scanner.inspection import team

    opened = Project(project)
    for one in name:
        token = team.invite(opened.folder, one, chair=chair, renew=renew)
        show(f"{one} {token}")


@click.command(cls=DataCommand)
@click.argument("project", type=PROJECT)
@catalog_option("--catalog", "Catalogue of the objects; for painted ones, that of the tiles with what was painted.")
@click.option(
    "--list",
    "listed",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Truth table of python -m training inject, or a table of objects with ra and dec.",
)
@click.option("--label", help="Rows of --list to take: those whose column label has this value.  [default: all]")
@click.option("--truth", type=click.Choice(TRUTHS), default=TRUTHS[0], show_default=True, help="What the objects are.")
@click.option("--painted", is_flag=True, help="Something was painted into the tiles; their sky has no such object.")
@click.option("--most", type=click.IntRange(1), help="Number of objects to draw from the list.  [default: all]")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the draw.")
@image_options
def fakes(
    project: Path,
    catalog: Path,
    listed: Path,
    label: str | None,
    truth: str,
    painted: bool,
    most: int | None,
    seed: int,
    root: Path | None,
    survey: str | None,
) -> int:
    """Add objects of known truth to a project, to test the inspectors: fakes, known lenses, and duds.

    They are served like all others. Everybody gets all of them, and SWAP learns from them how far each can be relied
    on. Fakes are lenses that python -m training inject painted: scan those tiles into a catalogue of their own with the
    same model, and give that catalogue, its tiles, and --painted. Run the command again to resume cutting. Exit code 3:
    some are no object of the catalogue.

    \b
    Examples:
      scanner inspect fakes hunt --list injected/truth.csv --painted --catalog fakes --root injected --most 50
      scanner inspect fakes hunt --list known.csv --root /data/unions
      scanner inspect fakes hunt --list classes.csv --label spiral --truth dud --root /data/unions
    """
    import catalogs
    from scanner.hunt.cutter import Cutter
    from scanner.hunt.project import Project
    from scanner.inspection.fakes import find_known, read_known, same_round
    from scanner.inspection.planning import count_shared
    from scanner.windows.by_position import WindowReader

    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    catalogue = catalogs.open(catalog)
    opened = Project(project)
    known = read_known(listed, label)
    chosen = known.draw(most or len(known), seed)
    objects, missing = find_known(catalogue.snapshot(), chosen)
    for place in missing.tolist():
        where = f"{chosen.ra[place]:.6f} {chosen.dec[place]:+.6f}"
        click.echo(f"Skipped: {listed.name}, {where} is no object of the catalogue.", err=True)
    # A project is copied and released; the folders of this machine are nothing of it.
    source = f"{listed.name} {label or ''}".strip()
    made = same_round(opened, objects, source, truth, painted)
    if made is None:
        made = opened.add_round(objects, f"{truth}: {listed.stem}", source, catalogue.info, truth, painted)
    show(f"Round {made.number}: {len(made)} objects, each a {truth}")
    if painted and (shared := count_shared(opened, made)):
        why = "a plan of both withholds these, since one who sees a galaxy with and without an arc knows the fake"
        click.echo(f"{shared} of them are painted on an object of another list: {why}.", err=True)
    if root is not None:
        with Cutter(WindowReader.of_catalogue(catalogue, root, survey), made.frame) as cutter:
            for _ in made.cut(cutter):
                pass
        for tile, error in cutter.problems.items():
            click.echo(f"Tile {tile}: {error.message} [{error.code}]", err=True)
    return SOME_NOT_FOUND if len(missing) else 0


@click.command(cls=DataCommand)
@click.argument("project", type=PROJECT)
@click.option("--graders", type=click.IntRange(1), help="Number of inspectors an object.  [default: all]")
@click.option("--round", "rounds", type=click.IntRange(1), multiple=True, help="Round to grade.  [default: all]")
@click.option("--inspector", "inspectors", multiple=True, help="Inspector who grades.  [default: all of the team]")
@click.option("--seed", type=click.IntRange(0), help="Seed of the assignments and of every order.  [default: 1]")
@click.option(
    "--feedback/--no-feedback", default=None, help="Tell inspectors at once whether they were right of a test."
)
@click.option("--redeal", is_flag=True, help="Deal anew what nobody has graded yet, such as after somebody joined.")
@format_option(FORMATS)
def plan(
    project: Path,
    graders: int | None,
    rounds: tuple[int, ...],
    inspectors: tuple[str, ...],
    seed: int | None,
    feedback: bool | None,
    redeal: bool,
    fmt: str,
) -> None:
    """Plan who grades what, or complete the plan that there is.

    Objects are dealt so that everybody has as many, and everybody has an order of their own. Run the command again
    after a list or an inspector was added: what was assigned stays, and what was graded is kept. Prints the status.

    \b
    Examples:
      scanner inspect plan hunt --graders 6
      scanner inspect plan hunt --graders 2 --seed 7 --feedback
      scanner inspect plan hunt --redeal
    """
    from scanner.hunt.project import Project
    from scanner.inspection.planning import Wish, count_withheld, make_plan
    from scanner.inspection.progress import status_table

    opened = Project(project)
    made = make_plan(opened, Wish(graders, rounds or None, inspectors or None, seed, feedback, redeal))
    for number, count in count_withheld(made).items():
        one = opened.round(number)
        other = "without what was painted" if one.record.painted else "with something painted on it"
        why = f"the plan has the same galaxy {other}, which would give the fake away"
        click.echo(f"Round {number}: {count} of {len(one)} objects are withheld: {why}.", err=True)
    emit(status_table(opened), fmt, None)


@click.command(cls=DataCommand)
@click.argument("project", type=PROJECT)
@format_option(FORMATS)
def status(project: Path, fmt: str) -> int:
    """Show how far everybody is. Exit code 3: grades are missing.

    \b
    Examples:
      scanner inspect status hunt
      scanner inspect status hunt --format json
    """
    from scanner.hunt.project import Project
    from scanner.inspection.progress import missing_grades, status_table, still_blind

    opened = Project(project)
    emit(status_table(opened), fmt, None)
    missing, blind = missing_grades(opened), still_blind(opened)
    if missing:
        click.echo(f"{len(missing)} objects lack grades.", err=True)
    if blind:
        click.echo(f"Still blind: {', '.join(f'{name} ({count})' for name, count in blind.items())}.", err=True)
    return SOME_NOT_FOUND if missing or blind else 0
