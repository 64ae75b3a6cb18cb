"""The command ``evaluate``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from scanner.system.output_path import OUTPUT_FOLDER
from training.evaluate import BASELINES
from training.evaluate.tasks import PAINTED, TASKS

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("evaluate")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--data", type=_FOLDER, required=True, help="Folder of development data: tiles_dev, labelled, fields.")
@click.option("--tasks", help=f"Tasks, separated by commas: {', '.join(TASKS)}.  [default: all whose data are given]")
@click.option(
    "--painted",
    type=_FOLDER,
    help=f"Folder of shards with painted lenses (cutouts --paint), for {', '.join(PAINTED)}.",
)
@click.option(
    "--baselines",
    help=f"Baselines, separated by commas: {', '.join(BASELINES)}; '' for none.  [default: all that are installed]",
)
@click.option("--turns", is_flag=True, help="Second column of embeddings averaged over 8 flips and turns (8 x slower).")
@click.option(
    "--short", type=click.IntRange(min=0), default=0, help="Number of first dimensions for another column; 0 for none."
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Number of networks of random weights."
)
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Training run whose reconstruction error is added. May be repeated.",
)
@click.option("--out", type=OUTPUT_FOLDER, help="Folder for evaluation.json, .md, .png and retrieval.png.")
@click.option(
    "--cache", type=_FOLDER, default=Path("build/evaluation"), show_default=True, help="Folder of simulated tiles."
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Threads of a model; processes that simulate.",
)
def evaluate_command(
    models: tuple[str, ...],
    data: Path,
    tasks: str | None,
    painted: Path | None,
    baselines: str | None,
    turns: bool,
    short: int,
    seeds: int,
    checkpoints: tuple[Path, ...],
    out: Path | None,
    cache: Path,
    threads: int,
) -> None:
    """Measure encoders on real lenses, labelled pictures and simulations; print one table with intervals.

    A MODEL is an encoder.onnx or the name of a baseline; imagenet needs the extra [evaluation]. All models see the
    same cutouts. The first task on simulated tiles renders 25 of them, which takes about a minute.

    \b
    Examples:
      python -m training evaluate encoder.onnx --data DATA --out build/evaluation
      python -m training evaluate a.onnx b.onnx --data DATA --tasks retrieval,few-shot --baselines ''
    """
    from training.evaluate import run
    from training.evaluate.baselines import installed
    from training.evaluate.report import table, write

    baseline_names = installed() if baselines is None else tuple(filter(None, baselines.split(",")))
    for name in baseline_names:
        if name not in BASELINES:
            raise click.BadParameter(f"{name!r} is none of {', '.join(BASELINES)}.", param_hint="--baselines")
    results, about = run.compare(
        list(dict.fromkeys([*models, *baseline_names])),
        data,
        tuple(tasks.split(",")) if tasks else None,
        cache,
        turns,
        short,
        seeds,
        checkpoints,
        threads,
        partial(click.echo, err=True),
        painted,
    )
    click.echo(table(results))
    if out is not None:
        write(results, about, out)
