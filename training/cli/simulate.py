"""The command ``simulate``: survey-like tiles with lenses, in parallel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click

from catalogs.atomic import make_folder
from training.simulate.conditions import Settings
from training.simulate.write import tile_names

Job = tuple[str, int, Settings, Path, bool]
"""Tile, seed, settings, folder, whether to compress."""


def _one(job: Job) -> tuple[str, int, int]:
    """Simulate and write a tile; returns its name, the number of lenses and of all objects."""
    from training.simulate.scene import simulate_tile
    from training.simulate.write import write_tile

    name, seed, settings, folder, compress = job
    scene = simulate_tile(name, seed, settings)
    write_tile(scene, folder, compress)
    return name, int((scene.truth["label"] == "lens").sum()), len(scene.truth)


def _run(jobs: list[Job], workers: int) -> Iterator[tuple[str, int, int]]:
    """Yield results in the order of the jobs."""
    if workers <= 1:
        yield from map(_one, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_one, jobs)


@click.command(short_help="Render survey-like tiles with lenses in them.")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--tiles", type=click.IntRange(min=1), default=4, show_default=True, help="Number of tiles.")
@click.option("--size", type=click.IntRange(min=32), default=1024, show_default=True, help="Side of a tile in pixels.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the simulation.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=lambda: os.cpu_count() or 1,
    help="Number of processes.  [default: all cores]",
)
@click.option(
    "--lenses",
    default=Settings.lens_fraction,
    show_default=True,
    help="Number of lenses per galaxy brighter than i = 23.5.",
)
@click.option(
    "--lookalikes",
    default=Settings.lookalike_fraction,
    show_default=True,
    help="Number of look-alikes per such galaxy.",
)
@click.option("--compress", is_flag=True, help="Write RICE-compressed files (.fits.fz).")
def simulate(
    out: Path, tiles: int, size: int, seed: int, workers: int | None, lenses: float, lookalikes: float, compress: bool
) -> None:
    """Render simulated tiles with UNIONS names into OUT, with a truth-<tile>.csv each and a list.txt.

    \b
    Example: python -m training simulate build/sky --tiles 8 --size 1024 --seed 1
    """
    settings = Settings(size=size, lens_fraction=lenses, lookalike_fraction=lookalikes)
    jobs = [(name, seed, settings, out, compress) for name in tile_names(tiles)]
    make_folder(out)
    for name, lens_count, objects in _run(jobs, min(workers or os.cpu_count() or 1, tiles)):
        click.echo(f"{name}: {objects} objects, {lens_count} lenses", err=True)
    (out / "list.txt").write_text("".join(f"{job[0]}\n" for job in jobs), encoding="utf-8")
