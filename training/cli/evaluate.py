"""The command ``evaluate``."""

from __future__ import annotations

from pathlib import Path

import click

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("evaluate")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--data", type=_FOLDER, required=True, help="Folder of development data: tiles_dev, labelled, fields.")
@click.option("--tasks", help="Some only, separated by commas.  [default: all]")
@click.option("--baselines", help="Names separated by commas, '' for none.  [default: all that are installed]")
@click.option("--turns", is_flag=True, help="Another column: vectors averaged over 8 flips and turns (8 times slower).")
@click.option("--short", type=click.IntRange(min=0), default=0, help="Another column: the first so many dimensions.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Networks of random weights.")
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A run of a masked autoencoder: adds its reconstruction error. May be repeated.",
)
@click.option("--out", type=_FOLDER, help="Folder for evaluation.json, .md, .png and retrieval.png.")
@click.option(
    "--cache", type=_FOLDER, default=Path("build/evaluation"), show_default=True, help="Simulated tiles are kept here."
)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Of a session; processes.")
def evaluate_command(
    models: tuple[str, ...],
    data: Path,
    tasks: str | None,
    baselines: str | None,
    turns: bool,
    short: int,
    seeds: int,
    checkpoints: tuple[Path, ...],
    out: Path | None,
    cache: Path,
    threads: int,
) -> None:
    """Measure encoders on real lenses, labelled pictures and simulations; one table, with intervals.

    A MODEL is an encoder.onnx or the name of a baseline: pixel-pca-64, random-weights, imagenet (needs the extra
    [evaluation]), magnitude. All see the same windows.

    Tasks: retrieval, probe, few-shot, rare-lenses, invariance, bands, seeing, surveys, galaxy, galaxy-zoo, star-galaxy,
    photometry. The first use of a simulated one renders 25 tiles, about 1 minute.

    \b
    Examples:
      python -m training evaluate encoder.onnx --data DATA --out build/evaluation
      python -m training evaluate a.onnx b.onnx --data DATA --tasks retrieval,few-shot --baselines ''
    """
    from training.evaluate import run
    from training.evaluate.baselines import BASELINES, installed
    from training.evaluate.report import table, write

    wanted = installed() if baselines is None else tuple(filter(None, baselines.split(",")))
    for name in wanted:
        if name not in BASELINES:
            raise click.BadParameter(f"{name!r} is none of {', '.join(BASELINES)}.", param_hint="--baselines")
    results, about = run.compare(
        list(dict.fromkeys([*models, *wanted])),
        data,
        tuple(tasks.split(",")) if tasks else tuple(run.TASKS),
        cache,
        turns,
        short,
        seeds,
        checkpoints,
        threads,
        lambda said: click.echo(said, err=True),
    )
    click.echo(table(results))
    if out is not None:
        write(results, about, out)
