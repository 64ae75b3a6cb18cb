"""``python -m bench.recipes``: what each choice in training and baking an encoder is worth, on development data.

Not a section of ``python -m bench``: it needs torch, real pixels and hours rather than minutes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from catalogs.atomic import write_text
from catalogs.errors import ScannerError

_FOLDER = click.Path(file_okay=False, path_type=Path)
_HERE = click.Path(exists=True, file_okay=False, path_type=Path)
MEASURES = {
    "mAP matched": ("retrieval", "mAP matched"),
    "P@10 matched": ("retrieval", "P@10 matched"),
    "recall@50 from 10": ("few-shot", "similar: recall@50"),
    "probe AUC matched": ("probe", "AUC matched"),
    "galaxy AUC": ("galaxy", "galaxy or not: AUC"),
    "turned": ("invariance", "itself turned 90 degrees"),
    "without r": ("invariance", "itself without r"),
    "twice the noise": ("invariance", "itself with twice the noise"),
}
NOTE = "[low, high]: 95 % bootstrap interval. *: the paired difference to the first row excludes 0."


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Compare ways to train an encoder, and to bake it."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch starts its threads


@cli.command("compare")
@click.option("--plan", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="[default: recipes.toml]")
@click.option("--shards", type=_HERE, required=True, help="Cutouts at least as large as the largest window.")
@click.option("--data", type=_HERE, required=True, help="Folder of development data.")
@click.option("--out", type=_FOLDER, required=True, help="Folder of the runs and of compare.md.")
def compare_command(plan: Path | None, shards: Path, data: Path, out: Path) -> None:
    """Train every variant of a plan from random weights, for the same compute, and measure all alike.

    Interrupted, the same command goes on where it stopped.

    \b
    Example:
      python -m training cutouts build/large-cutouts --fields DATA --simulate 48 --window 104 --seed 5
      python -m bench.recipes compare --shards build/large-cutouts --data DATA --out build/recipes
    """
    from bench.recipes_compare import PLAN, StoppedError, compare, read
    from training.evaluate.report import row_of

    wanted, rows, first = read(plan or PLAN), [], None
    try:
        for done in compare(wanted, shards, data, out, _say):
            first = first or done.results
            counts = [f"{done.steps:,}", f"{done.images:,}", f"{done.minutes:.1f}"]
            rows.append([done.name, *counts, *row_of(done.results, first, list(MEASURES.values()))])
            _write(out / "compare.md", ["variant", "steps", "images", "minutes", *MEASURES], rows)
    except StoppedError as stopped:
        sys.exit(128 + stopped.number)
    click.echo((out / "compare.md").read_text("utf-8"))


def _write(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table with its note."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    write_text(path, "\n".join(lines) + f"\n\n{NOTE}\n")


def _say(said: str) -> None:
    click.echo(said, err=True)


def main() -> None:
    """Run the command line; a failure the user can act on becomes two lines and exit code 1."""
    try:
        cli(prog_name="python -m bench.recipes")
    except ScannerError as error:
        click.echo(error.report(), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
