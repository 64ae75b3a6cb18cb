"""``scanner handoff``: pixels, noise, PSF and mask of candidates, for lens modelling."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from scanner.candidates import DEFAULT_ACRONYM
from scanner.cli.options import catalog_option, image_options
from scanner.cli.output import DataCommand, show
from scanner.system.output_path import OUTPUT_FOLDER

SOME_INCOMPLETE = 3


@click.command(cls=DataCommand)
@click.argument("out", type=OUTPUT_FOLDER)
@click.option(
    "--list",
    "listed",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Candidates with ra, dec and tile, such as candidates.fits of a release (CSV, FITS, VOTable, Parquet).",
)
@catalog_option("--catalog", "Catalogue that the candidates are from.")
@image_options
@click.option(
    "--size",
    default=12.0,
    show_default=True,
    type=click.FloatRange(2, 120),
    help="Side of a cutout, in arcsec.",
)
@click.option(
    "--acronym", default=DEFAULT_ACRONYM, show_default=True, help="Beginning of the names of unnamed objects."
)
def handoff(
    out: Path, listed: Path, catalog: Path, root: Path | None, survey: str | None, size: float, acronym: str
) -> int:
    """Write what a lens model needs of each candidate to a folder below OUT.

    For each band there is a FITS file with the pixels in nJy, their noise, the PSF of the stars around the candidate,
    and a mask of other sources. lens.json has the same as keyword arguments of lenstronomy, with a model to start from:
    a singular isothermal ellipsoid with shear, and Sersic profiles of lens and source.

    A band whose PSF no star shows is named on standard error and left out. Exit code 3: some are incomplete.

    \b
    Examples:
      scanner handoff models --list paper/candidates.fits --root /data/unions
      scanner handoff models --list candidates.csv --root /data/unions --size 20
    """
    import catalogs
    from scanner.candidates.handoff import hand_off
    from scanner.candidates.targets import read_targets
    from scanner.windows.by_position import WindowReader

    if root is None:
        raise click.UsageError("Pixels are read from tiles: give --root, the folder of the images.")
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    reader = WindowReader.of_catalogue(catalogs.open(catalog), root, survey)
    targets = read_targets(listed, acronym)
    written, incomplete = hand_off(targets, reader, out, size, lambda text: click.echo(text, err=True))
    show(f"{out}: {written} of {len(targets)} candidates")
    return SOME_INCOMPLETE if incomplete else 0
