"""The command ``evaluate``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("evaluate")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder of development data, with tiles_dev in it.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for evaluation.json and .png.")
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Of an encoder's session.")
def evaluate_command(models: tuple[str, ...], data: Path, out: Path | None, threads: int) -> None:
    """Measure encoders on real lenses: retrieval, probe, few-shot ranking, invariance; one table, with intervals.

    A MODEL is an encoder.onnx, or a baseline: pixel-pca-64, random-weights. All see the same windows, and what
    magnitude alone achieves stands beside them.

    Example: python -m training evaluate encoder.onnx pixel-pca-64 random-weights --data ../shared/data --out build
    """
    from training.evaluate import run
    from training.evaluate.report import table, write

    results, about = run.compare(models, data, threads, lambda said: click.echo(said, err=True))
    click.echo(table(results))
    if out is not None:
        write(results, about, out)
