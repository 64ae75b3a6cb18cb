"""The command ``cutouts``: training shards of real fields, simulated scenes, tiles and ready-made cutouts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.cutouts.shards import SPLITS, TRAIN, WINDOW

if TYPE_CHECKING:
    from training.cutouts.painted import Plates

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("cutouts")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--fields", type=_FOLDER, help="Folder of the real fields that training/cutouts/fields.toml names.")
@click.option("--simulate", type=click.IntRange(min=1), metavar="N", help="Number of simulated scenes to cut.")
@click.option(
    "--size", type=click.IntRange(min=160), default=1024, show_default=True, help="Side of a scene in pixels."
)
@click.option(
    "--paint",
    type=click.FloatRange(min=0, min_open=True),
    metavar="K",
    help="Paint lenses and look-alikes on the fields and scenes: K lenses on each plausible host on average.",
)
@click.option("--tiles", type=click.Path(dir_okay=False, path_type=Path), help="List of survey tiles to cut.")
@click.option(
    "--negatives", type=_FILE, help="Table of rejected candidates to cut from their tiles (scanner inspect negatives)."
)
@click.option(
    "--root", type=_FOLDER, default=".", show_default=True, help="Folder of the files of --tiles and --negatives."
)
@click.option("--hdf5", type=_FILE, multiple=True, metavar="FILE", help="HDF5 cutouts of unionsdata. May be repeated.")
@click.option(
    "--survey",
    default="unions",
    show_default=True,
    help="Survey of --tiles, --negatives and --hdf5: name or TOML file.",
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default=TRAIN,
    show_default=True,
    help="Split of --tiles, --negatives and --hdf5.",
)
@click.option(
    "--window", type=click.IntRange(min=8), default=WINDOW, show_default=True, help="Side of a cutout in pixels."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all random choices.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Number of processes.")
def cutouts_command(
    out: Path,
    fields: Path | None,
    simulate: int | None,
    size: int,
    paint: float | None,
    tiles: Path | None,
    negatives: Path | None,
    root: Path,
    hdf5: tuple[Path, ...],
    survey: str,
    split: str,
    window: int,
    seed: int,
    workers: int,
) -> None:
    """Cut objects out of images into shards in the folder OUT, for `pretrain`.

    A cutout is centred on a detection (one in ten on a random position) and holds u g r i z in nJy, NaN for no data.
    A model of 64 px needs cutouts a few pixels larger, so that training can shift them.
    Existing shards are kept: run the same command to resume, or another one to add to the folder.

    A part of the fields and simulated scenes is held out for validation. Tiles and HDF5 cutouts are for training:
    add others with --split validate to get a validation loss from them.

    \b
    Examples:
      python -m training cutouts shards --fields data --simulate 300 --workers 2
      python -m training cutouts painted --fields data --simulate 48 --paint 12 --workers 2
      python -m training cutouts shards --tiles list.txt --root /data/unions
      python -m training cutouts shards --negatives negatives.csv --root /data/unions
      python -m training cutouts shards --tiles held-out.txt --root /data/unions --split validate
    """
    from training.cutouts import production

    tasks: list[production.Task] = []
    images: list[Plates] = []
    if fields is not None:
        images += production.field_tasks(fields, seed, window)
    if simulate is not None:
        from training.cutouts.simulated import scene_tasks

        images += scene_tasks(simulate, size, seed, window)
    tasks += images
    if paint is not None:
        from training.cutouts.painted import paint_tasks

        if not images:
            raise click.UsageError("--paint needs images: give --fields, --simulate or both.")
        tasks += paint_tasks(images, paint, fields)
    if tiles is not None:
        tasks += production.tile_tasks(tiles, root, survey, seed, window, split)
    if negatives is not None:
        from training.cutouts.negatives import negative_tasks

        tasks += negative_tasks(negatives, root, survey, window, split)
    if hdf5:
        from training.cutouts.unionsdata import file_tasks

        tasks += file_tasks(hdf5, survey, window, split)
    if not tasks:
        raise click.UsageError("Nothing to cut. Give --fields, --simulate, --tiles, --negatives or --hdf5.")
    made = production.produce(out, tasks, seed, workers, partial(click.echo, err=True), window)
    click.echo(made)
