"""The commands ``pretrain``, ``average`` and ``reconstruct``."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from scanner.system.output_path import OUTPUT_FILE, OUTPUT_FOLDER

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("pretrain")
@click.argument("config", type=_FILE)
@click.option("--shards", type=_FOLDER, required=True, help="Folder that `python -m training cutouts` made.")
@click.option("--out", type=_FOLDER, required=True, help="Folder of the run: checkpoint, log.jsonl, loss.png.")
@click.option("--resume", is_flag=True, help="Resume from the checkpoint in --out, if there is one.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Length of the run in minutes, over all calls, in place of steps.",
)
@click.option(
    "--begin", type=click.Path(exists=True, path_type=Path), help="Checkpoint whose weights the run begins with."
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed, in place of that of the configuration.")
@click.option("--tensorboard", is_flag=True, help="Write events for TensorBoard too (needs the package tensorboard).")
def pretrain_command(
    config: Path,
    shards: Path,
    out: Path,
    resume: bool,
    minutes: float | None,
    begin: Path | None,
    seed: int | None,
    tensorboard: bool,
) -> None:
    """Train a masked autoencoder by the configuration CONFIG (TOML).

    The run can be killed at any moment: the same command with --resume gives the same result. For several processes
    use torchrun --nproc-per-node N -m training pretrain ...

    With --minutes, the steps, validations and checkpoints of all calls take about that long. The time before the first
    step and after the last one is not counted.

    Example: python -m training pretrain training/configs/small.toml --shards shards --out run --minutes 60
    """
    from training.config import read

    settings = read(config)
    if seed is not None:
        settings = replace(settings, run=replace(settings.run, seed=seed))
    # Idle threads sleep: busy-waiting ones slow the run down several times when another job shares the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from training.loop.pretrain import pretrain

    stopped_by = pretrain(settings, shards, out, resume, minutes, begin, tensorboard)
    if stopped_by:
        sys.exit(128 + stopped_by)
    click.echo(out / "checkpoint.safetensors")


@click.command("average")
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="RUN...")
@click.option("--shards", type=_FOLDER, required=True, help="Shards of the runs, whose held-out cutouts calibrate.")
@click.option("--out", type=OUTPUT_FOLDER, required=True, help="Folder of the average: checkpoint.")
def average_command(runs: tuple[Path, ...], shards: Path, out: Path) -> None:
    """Average the weights of third-stage RUNs that differ in their seed, and calibrate the scores anew.

    \b
    Example: python -m training average lens-0 lens-1 lens-2 --shards painted --out lens
    """
    from training.loop.averaging import average_runs

    average_runs(runs, shards, out)
    click.echo(out / "checkpoint.safetensors")


@click.command("reconstruct")
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path))
@click.option("--shards", type=_FOLDER, required=True, help="Folder that `python -m training cutouts` made.")
@click.option("--out", type=OUTPUT_FILE, required=True, help="PNG or PDF to write.")
@click.option("--rows", type=click.IntRange(1, 32), default=4, show_default=True, help="Number of objects to draw.")
@click.option(
    "--mask-ratio",
    type=click.FloatRange(0, 1, True, True),
    help="Share of masked patches, in place of the checkpoint's.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the choice of objects.")
def reconstruct_command(
    checkpoint: Path, shards: Path, out: Path, rows: int, mask_ratio: float | None, seed: int
) -> None:
    """Draw input, masked input, reconstruction and residual of held-out cutouts, in colour and in every band.

    \b
    Examples:
      python -m training reconstruct run --shards shards --out figure2.png
      python -m training reconstruct run --shards shards --out figure2.pdf --rows 6
    """
    from training.figures.reconstruction import reconstruct

    click.echo(reconstruct(checkpoint, shards, out, rows, mask_ratio, seed))
