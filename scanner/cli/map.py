"""``scanner map``: project a catalogue to two dimensions."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalogs.maps import METHODS
from catalogs.render import REPORT_FORMATS
from scanner.cli.options import FIGURE, catalog_option, format_option, image_options, pass_options
from scanner.cli.output import DataCommand, show

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from catalogs.search.tile_pass import Executor

# Most objects of a figure, drawn at random from a larger map.
DRAWN = 100_000


@click.command(name="map", cls=DataCommand)
@catalog_option("--catalog", "Catalogue to map.")
@click.option(
    "--method", type=click.Choice(list(METHODS)), default="umap", show_default=True, help="Method of projection."
)
@click.option("--name", help="Name of the map, and of its columns NAME_x, NAME_y. [default: the method]")
@click.option(
    "--where", metavar="FILTER", default="is_primary", show_default=True, help="Filter of the objects on the map."
)
@click.option(
    "--sample",
    default=20_000,
    show_default=True,
    type=click.IntRange(10),
    help="Number of objects that the map is fitted to.",
)
@click.option("--seed", default=0, show_default=True, type=int, help="Seed of the sample and the fit.")
@click.option("--refit", is_flag=True, help="Replace the fit of an existing map.")
@click.option("--figure", type=FIGURE, help="PNG or PDF of the map by magnitude, colour and size.")
@click.option(
    "--colour", metavar="COLUMN", multiple=True, help="Column that colours the figure instead, one panel for each."
)
@click.option("--cutouts", type=FIGURE, help="PNG or PDF of the map with cutouts (needs --root).")
@click.option("--band-names", is_flag=True, help="Name the red, green and blue bands below the cutouts.")
@image_options
@pass_options
@format_option(REPORT_FORMATS)
def map_(
    catalog: Path,
    method: str,
    name: str | None,
    where: str,
    sample: int,
    seed: int,
    refit: bool,
    figure: Path | None,
    colour: tuple[str, ...],
    cutouts: Path | None,
    band_names: bool,
    root: Path | None,
    survey: str | None,
    executor: AbstractContextManager[Executor | None],
    fmt: str,
) -> None:
    """Map a catalogue to the plane, so that objects of similar appearance lie together.

    The map is fitted to a sample (PCA, t-SNE by openTSNE, UMAP by umap-learn). All other objects are placed among it.
    Coordinates are stored beside the tiles, in maps/NAME/tiles, in rows of the same order. When the command is repeated
    after a scan, only new tiles are placed. t-SNE and UMAP need pip install
    'unions-scanner[maps]'.

    \b
    Examples:
      scanner map --method umap --figure umap.png
      scanner map --method umap --figure umap.pdf --colour score_lens --colour mag_auto
      scanner map --method tsne --where "is_primary and mag_auto < 22" --root /data/unions --cutouts tsne_cutouts.png
      scanner map --method umap --figure umap.pdf --root /data/unions --cutouts cutouts.pdf --band-names
      scanner map --method umap --workers 4
    """
    import catalogs
    from catalogs.maps.build import build_map
    from catalogs.maps.read import MapSettings

    if cutouts and root is None:
        raise click.UsageError("--cutouts needs --root, the folder of the images.")
    if colour and not figure:
        raise click.UsageError("--colour needs --figure.")
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    catalogue = catalogs.open(catalog)
    columns: list[str] = []
    if figure or cutouts:
        # The code for pixels is imported only where a figure is drawn. A wrong --colour must not cost a projection.
        from scanner.figures import map as map_figures

        columns = map_figures.columns(catalogue.schema, colour)
    with executor as running:
        report = build_map(catalogue, MapSettings(method, sample, seed, where), name, refit=refit, executor=running)
    if fmt == "json":
        show(json.dumps(asdict(report)))
    else:
        show(
            f"Map {report.name}: fitted to {report.fitted:,} objects; {report.objects:,} objects on it, "
            f"{report.placed:,} tiles placed, {report.kept:,} kept"
        )
    if figure or cutouts:
        import numpy as np

        from catalogs.maps.read import read_map
        from scanner.windows.by_position import WindowReader

        reader = WindowReader.of_catalogue(catalogue, root, survey) if root else None
        table = read_map(catalogue, report.name, columns, limit=DRAWN)
        places = np.stack([table[f"{report.name}_x"], table[f"{report.name}_y"]], axis=1)
        if figure:
            panels = map_figures.quantities(table, catalogue.info.bands, colour)
            map_figures.draw_quantities(places, panels, METHODS[method], figure)
        if cutouts and reader:
            map_figures.draw_cutouts(places, table, reader, METHODS[method], cutouts, band_names=band_names)
