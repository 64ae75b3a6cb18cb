"""``scanner serve``: the page for a browser; ``scanner hunt`` and ``scanner verdicts``: its project without it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from scanner.cli.options import catalog_option, encoder_options, file_option, format_option, image_options, known_option
from scanner.cli.output import DataCommand, show
from scanner.hunt import VERDICT_FORMATS
from scanner.system.output_path import OUTPUT_FOLDER
from scanner.web import HOST, PORT

SOME_NOT_FOUND = 3


@click.command(cls=DataCommand)
@catalog_option("--catalog", "Catalogue to show.", lance=True)
@click.option(
    "--like",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of known lenses with ra and dec, to start from (CSV, FITS, VOTable, Parquet, .cat).",
)
@known_option
@click.option(
    "--project",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of a hunt: cutouts and verdicts; made if there is none.",
)
@click.option("--inspector", help="Your name in the record of verdicts. [default: your user name]")
@click.option(
    "--scheme",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML of the grades of a new project.",
)
@click.option("--host", default=HOST, show_default=True, help="Address to listen at; 0.0.0.0 is all of the machine's.")
@click.option(
    "--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes any that is free."
)
@click.option("--allow-host", multiple=True, metavar="NAME", help="Name by which browsers may call this machine.")
@click.option(
    "--aladin", metavar="PATH_OR_URL", help="Aladin Lite's aladin.js, to show the tiles over an image of the sky."
)
@click.option("--token", envvar="SCANNER_TOKEN", help="Token of the address; $SCANNER_TOKEN, else a new one.")
@image_options
@encoder_options
def serve(
    catalog: Path | str,
    like: Path | None,
    known_lists: tuple[Path, ...],
    project: Path | None,
    inspector: str | None,
    scheme: Path | None,
    host: str,
    port: int,
    allow_host: tuple[str, ...],
    aladin: str | None,
    token: str | None,
    root: Path | None,
    survey: str | None,
    model: str | None,
    device: str,
) -> None:
    """Serve the page: search a catalogue by looking at it, in a browser.

    Prints the address to open. It holds a token, without which the server answers nobody, so that other users of the
    machine cannot look. Only programs of this machine reach it unless --host says otherwise. To look from elsewhere,
    forward the port: ssh -L 8431:localhost:8431 MACHINE. Without --root there are no cutouts.

    With --project you can inspect what a search lists, and grade it. A project holds its own cutouts, so it can be
    copied to a machine that has neither the catalogue nor its tiles, and served there. Where the project has a team
    (scanner inspect), everybody opens the page with a token of their own; with --inspector and --token the page is that
    of one inspector alone.

    With --aladin one more page shows the tiles over survey images, which the browser loads from elsewhere. All other
    pages load nothing from outside this server.

    \b
    Examples:
      scanner serve --catalog embeddings --root /data/unions
      scanner serve --root /data/unions --like lenses.csv --project hunt
      scanner serve --project hunt --port 0
    """
    from catalogs.errors import ErrorCode, ScannerError

    try:
        import fastapi  # noqa: F401
        import jinja2  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        hint = "Install it: pip install 'unions-scanner[web]'"
        raise ScannerError(ErrorCode.WEB_NOT_INSTALLED, f"The page needs the package {error.name}.", hint) from error
    import getpass

    import catalogs
    from catalogs.parallel import one_core
    from scanner.web.hunter import Hunter
    from scanner.web.server import serve as serve_site
    from scanner.web.site import Site
    from scanner.web.sky import read_aladin

    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        catalogue = catalogs.open(catalog)
    except ScannerError as error:
        # A project is enough to go on with it.
        if project is None or error.code != ErrorCode.CATALOGUE_MISSING or not (project / "project.json").exists():
            raise
        catalogue = None
    if aladin is not None:
        read_aladin(aladin)
    if project is not None and (project / "team.json").exists() and inspector is not None:
        from scanner.inspection.team import Team

        # On a laptop the only inspector is as blind as on the server of all.
        Team(project).check(inspector, token or "")
    site = Site(
        catalogue,
        root=root,
        survey=survey,
        model=model,
        device=device,
        like=like,
        known=known_lists,
        aladin=aladin,
    )
    hunter = Hunter(site, project, inspector or getpass.getuser(), scheme) if project is not None else None

    def announce(address: str) -> None:
        show(f"Open {address}\nCtrl-C ends the server.")

    # Requests run side by side.
    with one_core():
        serve_site(site, hunter, host, port, token=token, hosts=allow_host, announce=announce)


@click.command(cls=DataCommand)
@click.argument("project", type=OUTPUT_FOLDER)
@catalog_option("--catalog", "Catalogue of the objects.")
@click.option(
    "--list",
    "listed",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of candidates with ra and dec, in the order to inspect them (CSV, FITS, VOTable, Parquet, .cat).",
)
@click.option(
    "--like",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of known lenses: the round begins from what is most like them.",
)
@click.option("--score", is_flag=True, help="Begin from the highest lens scores of the model.")
@click.option(
    "-k", default=500, show_default=True, type=click.IntRange(1), help="Number of objects of --like or --score."
)
@click.option("--title", help="Title of the round. [default: where it begins from]")
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
    like: Path | None,
    score: bool,
    k: int,
    title: str | None,
    scheme: Path | None,
    root: Path | None,
    survey: str | None,
) -> int:
    """Make the project of a hunt, or add a list of candidates to it, and cut their cutouts.

    The project is a folder that holds all that an inspector needs: scanner serve --project PROJECT shows it, on any
    machine. Cutouts are kept: run the command again to resume. Without --list, --like and --score it only cuts what is
    not cut yet. --like and --score leave out known lenses. Exit code 3: some of a list are no object of the catalogue.

    \b
    Examples:
      scanner hunt lenses --list candidates.csv --root /data/unions
      scanner hunt lenses --score -k 1000 --root /data/unions
      scanner hunt lenses --root /data/unions
    """
    from tqdm import tqdm

    import catalogs
    from catalogs import lenses
    from catalogs.ranking import rank
    from catalogs.search.matching import match
    from catalogs.store import rows
    from scanner.hunt.cutter import Cutter
    from scanner.hunt.project import Project
    from scanner.queries.query import read_table
    from scanner.windows.by_position import WindowReader

    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    if sum((listed is not None, like is not None, score)) > 1:
        raise click.UsageError("Give one of --list, --like and --score.")
    catalogue = catalogs.open(catalog)
    missing = 0
    if listed is not None or like is not None or score:
        snapshot = catalogue.snapshot()
        table = listed or like
        places = list(read_table(table)) if table is not None else []
        found = match(snapshot, [one.ra for one in places], [one.dec for one in places])
        missing = len(found.unmatched)
        for one in found.unmatched:
            click.echo(f"Skipped: {table.name if table else ''}, row {one.name} [{one.code}]", err=True)
        if listed is not None:
            objects, source = rows.of_ids(snapshot, found.object_id.tolist()), listed.name
        else:
            method = "score" if score else "auto"
            examples = None if score else found
            objects = rank.rank(catalogue, examples, method=method, k=k, known=lenses.known(), hide_known=True)
            source = "score" if score or like is None else f"like {like.name}"
        # A question that has no answer leaves no project behind.
        opened = Project.create(project, scheme)
        default = "By the lens score" if score else f"Like {like.stem}" if like is not None else Path(source).stem
        made = opened.add_round(objects, title or default, source, catalogue.info)
        show(f"Round {made.number}: {len(made)} objects")
    else:
        opened = Project.create(project, scheme)
    if root is not None:
        reader = WindowReader.of_catalogue(catalogue, root, survey)
        for number in opened.rounds():
            current = opened.round(number)
            # The tiles of painted lenses are others, which scanner inspect fakes was given.
            if current.record.painted:
                continue
            with Cutter(reader, current.frame) as cutter, tqdm(total=len(current), desc=f"round {number}") as bar:
                for done in current.cut(cutter):
                    bar.update(done - bar.n)
            for tile, error in cutter.problems.items():
                click.echo(f"Tile {tile}: {error.message} [{error.code}]", err=True)
    return SOME_NOT_FOUND if missing else 0


@click.command(cls=DataCommand)
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@file_option
@format_option(VERDICT_FORMATS)
def verdicts(project: Path, output: Path | None, fmt: str) -> None:
    """Export the verdicts of a hunt: a row for each object that was judged.

    A grade counts more than a triage, and a later verdict more than an earlier one. Those of a team are its consensus.
    The column mark is what scanner rank --feedback reads.

    \b
    Examples:
      scanner verdicts lenses -o verdicts.csv
      scanner verdicts lenses --format parquet -o verdicts.parquet
    """
    from catalogs.atomic import replacing
    from scanner.hunt.export import encode
    from scanner.hunt.project import Project
    from scanner.inspection.tables import verdicts_of

    written = encode(verdicts_of(Project(project)), fmt)
    if output is None:
        show(written)
    else:
        with replacing(output, clear=True) as temporary:
            temporary.write_bytes(written)
