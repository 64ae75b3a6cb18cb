"""``scanner lenses``: list the known lenses and their tiles."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from catalogs.lenses import GRADES, KINDS
from scanner.cli.options import known_option, output_options
from scanner.cli.output import DataCommand, emit, show


@click.command(cls=DataCommand)
@click.option(
    "--survey", default="unions", show_default=True, metavar="NAME|FILE.toml", help="Survey whose tiles are named."
)
@click.option("--grade", type=click.Choice(GRADES), help="Grade of the lenses. [default: both]")
@click.option("--kind", type=click.Choice(KINDS), help="Kind of the lenses. [default: all but cluster catalogues]")
@click.option(
    "--catalog",
    type=click.Path(file_okay=False, path_type=Path),
    help="Catalogue on whose tiles the lenses are.",
)
@click.option("--tiles", "tile_list", metavar="FILE", help="List of tiles on which the lenses are; - is stdin.")
@click.option("--min-dec", default=-90.0, type=click.FloatRange(-90, 90), help="Lowest declination, in degrees.")
@click.option("--as-tile-list", is_flag=True, help="Print the tiles instead, each once, as a list for scan-tiles.")
@known_option
@output_options
def lenses(
    survey: str,
    grade: str | None,
    kind: str | None,
    catalog: Path | None,
    tile_list: str | None,
    min_dec: float,
    as_tile_list: bool,
    known_lists: tuple[Path, ...],
    fmt: str,
    output: Path | None,
) -> None:
    """List the known lenses of a survey, with the tile that each is on.

    The package includes 18,965 lenses and candidates from the literature, but no list of the imaged tiles. Without
    --catalog or --tiles all lenses are listed, each with the tile of the grid at its position, imaged or not. UNIONS
    covers about dec > 30, away from the Galactic plane: --min-dec 30 is a first cut, --tiles with your tiles is exact.

    \b
    Examples:
      scanner lenses --survey unions --grade confident --min-dec 30
      scanner lenses --catalog embeddings --format csv -o lenses.csv
      scanner lenses --known mine.csv --catalog embeddings
      scanner lenses --grade confident --tiles mine.txt --as-tile-list > lens_tiles.txt
    """
    import catalogs
    from scanner.queries import known_lenses
    from scanner.survey.survey import load

    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    chosen = load(survey)
    table = known_lenses.of_survey(
        chosen,
        grade,
        kind,
        known=known_lists,
        catalogue=catalogs.open(catalog) if catalog else None,
        listed=known_lenses.listed_tiles(tile_list, chosen) if tile_list else None,
        south=min_dec,
    )
    if as_tile_list:
        text = "".join(f"{name}\n" for name in sorted(set(table["tile"].tolist())))
        _write(text, output)
    else:
        emit(table, fmt, output)
    # The count goes to stderr, since stdout may be the list of another command.
    click.echo(f"{len(table):,} lenses on {len(set(table['tile'].tolist())):,} tiles", err=True)


def _write(text: str, output: Path | None) -> None:
    from catalogs.atomic import write_text

    if output is not None:
        write_text(output, text)
    else:
        show(text)
