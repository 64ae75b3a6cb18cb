"""The command ``inject``: lenses painted into the tiles of a survey."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click


@click.command("inject", short_help="Paint lenses into survey tiles, with a truth table.")
@click.option("--tiles", type=click.Path(path_type=Path), required=True, help="List of tiles, as scan-tiles takes it.")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    show_default=True,
    help="Folder of the tiles' files.",
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the painted tiles."
)
@click.option("--survey", default="unions", show_default=True, help="Survey of the tiles: a name or a TOML file.")
@click.option(
    "--density",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Number of lenses a square arcminute, at most.",
)
@click.option(
    "--theta-e",
    type=click.FloatRange(min=0.3, max=5.0),
    nargs=2,
    metavar="LOW HIGH",
    help="Limits of the Einstein radius in arcsec.  [default: as the hosts have them]",
)
@click.option(
    "--seeing",
    type=click.FloatRange(min=0.2, max=5.0),
    help="FWHM in arcsec for tiles without stars.  [default: measured on the stars of each tile]",
)
@click.option(
    "--known",
    "known_lists",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Known lenses of your own, with ra and dec, beside those of the package: they are no hosts. Repeatable.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all random choices.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Number of processes.")
def inject_command(
    tiles: Path,
    root: Path,
    out: Path,
    survey: str,
    density: float,
    theta_e: tuple[float, float] | None,
    seeing: float | None,
    known_lists: tuple[Path, ...],
    seed: int,
    workers: int,
) -> None:
    """Paint lenses into the tiles of a list, and write them to OUT under their own names.

    Arcs and quasar images are painted around galaxies of each tile that could be lenses, in the seeing of its stars
    and with their photon noise. Known lenses, and galaxies within 15 arcsec of one, are no hosts. OUT has truth.csv and
    truth.ecsv with a row for each lens, and list.txt for the scan. Only pixels with painted light change. Finished
    tiles are kept: run the same command to resume.

    \b
    Examples:
      python -m training inject --tiles list.txt --root /data/unions --out injected
      python -m training inject --tiles list.txt --root /data/unions --out wide --theta-e 1.5 3 --seed 7
      python -m training inject --tiles list.txt --root /data/unions --out injected --known candidates.csv
    """
    import numpy as np

    from catalogs import lenses
    from catalogs.sky.crossmatch import Places
    from scanner.sources.position_files import read_positions
    from scanner.survey.survey import load
    from scanner.survey.tile_list import read_list
    from training.inject.injection import inject
    from training.inject.tile import Choice

    if theta_e is not None and theta_e[0] >= theta_e[1]:
        raise click.BadParameter(f"{theta_e[0]} is not below {theta_e[1]}.", param_hint="--theta-e")
    if out.resolve() == root.resolve():
        raise click.BadParameter("It is the folder of --root: the tiles would be replaced.", param_hint="--out")
    described = load(survey)
    choice = Choice(density, theta_e or Choice.theta_e, seeing, seed)
    found = read_list(tiles, described, root)
    listed, own = lenses.known(), [read_positions(path) for path in known_lists]
    for path, table in zip(known_lists, own, strict=True):
        if not table.on_sky:
            raise click.BadParameter(f"{path} has no columns ra and dec.", param_hint="--known")
    ra = np.concatenate([listed["ra"], *(table.first for table in own)])
    known = Places(ra, np.concatenate([listed["dec"], *(table.second for table in own)]))
    click.echo(inject(found, described, choice, out, known, workers, partial(click.echo, err=True)))
