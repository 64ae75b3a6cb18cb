"""``python -m studies.training``: the effect of each choice in training and exporting an encoder.

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
DIFFERENCE = "*: the paired difference to the first row, by bootstrap, excludes 0."


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Compare ways to train an encoder, and to make embeddings of it."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch starts its threads


@cli.command("compare")
@click.option("--plan", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="[default: recipes.toml]")
@click.option("--shards", type=_HERE, required=True, help="Cutouts at least as large as the largest window.")
@click.option("--data", type=_HERE, required=True, help="Folder of development data.")
@click.option("--out", type=_FOLDER, required=True, help="Folder of the runs and of compare.md.")
def compare_command(plan: Path | None, shards: Path, data: Path, out: Path) -> None:
    """Train every variant of a plan from random weights, for the same compute, and measure all of them.

    Interrupted, the same command goes on where it stopped.

    \b
    Example:
      python -m training cutouts build/large-cutouts --fields DATA --simulate 48 --window 104 --seed 5
      python -m studies.training compare --shards build/large-cutouts --data DATA --out build/recipes
    """
    from studies.training.compare import PLAN, compare, read
    from studies.training.runs import StoppedError
    from training.evaluate.report import row_of

    comparison, rows, first = read(plan or PLAN), [], None
    try:
        for done in compare(comparison, shards, data, out, _say):
            first = first or done.results
            counts = [f"{done.steps:,}", f"{done.images:,}", f"{done.minutes:.1f}"]
            rows.append([done.name, *counts, *row_of(done.results, first, list(MEASURES.values()))])
            _write(out / "compare.md", ["variant", "steps", "images", "minutes", *MEASURES], rows)
    except StoppedError as stopped:
        sys.exit(128 + stopped.number)
    click.echo((out / "compare.md").read_text("utf-8"))


@cli.command("bake")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("--shards", type=_HERE, required=True, help="Cutouts whose vectors an index of trees is grown over.")
@click.option("--rows", type=click.IntRange(min=1000), default=30_000, show_default=True, help="Of them, at most.")
@click.option("--data", type=_HERE, required=True, help="Folder of development data.")
@click.option("--out", type=_FOLDER, required=True, help="Folder for bake.md.")
def bake_command(run: Path, shards: Path, rows: int, data: Path, out: Path) -> None:
    """Measure the finished RUN with many embedding options, and the recall of an index of trees.

    \b
    Example: python -m studies.training bake build/model/run --shards build/model/shards --data DATA --out build/recipes
    """
    from studies.training.bake import bake
    from training.evaluate.report import row_of

    table: list[list[str]] = []
    first = None
    for row in bake(run, shards, data, rows, _say):
        first = first or row.results
        trees = "-" if row.trees != row.trees else f"{row.trees:.3f}"
        table.append([row.name, *row_of(row.results, first, list(MEASURES.values())), trees])
        _write(out / "bake.md", ["recipe", *MEASURES, "trees: recall@10"], table)
    click.echo((out / "bake.md").read_text("utf-8"))


@cli.command("limits")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("--data", type=_HERE, required=True, help="Folder of development data.")
@click.option("--out", type=_FOLDER, required=True, help="Folder for limits.md and contradicted.png.")
def limits_command(run: Path, data: Path, out: Path) -> None:
    """Measure what limits the probes of a finished RUN: their form, fewer labels, other embeddings, wrong labels.

    \b
    Example: python -m studies.training limits build/model/run --data DATA --out build/recipes
    """
    from studies.training.limits import by_type, contradicted, draw, limits
    from training.evaluate.report import cells

    table = dict(limits(run, data, _say))
    names = list(next(iter(table.values())))
    columns = [cells([aucs.get(name) for aucs in table.values()]) for name in names]
    rows = [list(row) for row in zip(table, *columns, strict=True)]
    rows += [[f"as exported, lenses of type {kind}", *cells([one]), "-"] for kind, one in by_type(run, data).items()]
    _write(out / "limits.md", ["probe", *(f"AUC: {name}" for name in names)], rows)
    doubted = contradicted(run, data)
    draw(doubted, out / "contradicted.png")
    click.echo((out / "limits.md").read_text("utf-8"))
    galaxies = int(doubted.label.sum())
    click.echo(f"Of {doubted.total} pictures {len(doubted.label)} are on the other side for every probe: ", nl=False)
    click.echo(f"{galaxies} labelled galaxy, {len(doubted.label) - galaxies} not.")


@cli.command("worth")
@click.option("--plan", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="[default: worth.toml]")
@click.option("--shards", type=_HERE, required=True, help="Cutouts with painted lenses.")
@click.option("--data", type=_HERE, required=True, help="Folder of development data.")
@click.option("--pretrained", type=_HERE, help="Run or release of the second stage.")
@click.option("--autoencoder", type=_HERE, help="Run of the first stage.")
@click.option("--start", "starts", multiple=True, help="Run only this start of the plan. Repeatable.")
@click.option("--lenses", "numbers", type=int, multiple=True, help="Run only this number of lenses. Repeatable.")
@click.option("--seed", "seeds", type=int, multiple=True, help="Run only this seed. Repeatable.")
@click.option("--out", type=_FOLDER, required=True, help="Folder of the runs and of worth.md, worth.json, worth.png.")
def worth_command(
    plan: Path | None, shards: Path, data: Path, pretrained: Path | None, autoencoder: Path | None,
    starts: tuple[str, ...], numbers: tuple[int, ...], seeds: tuple[int, ...], out: Path,
) -> None:  # fmt: skip
    """Train lens scores from several weights and with several numbers of painted lenses, and find real lenses.

    A start whose weights are not given is left out. Interrupted, the same command goes on where it stopped; with other
    --start, --lenses or --seed it adds to the table.

    \b
    Example:
      python -m studies.training worth --shards build/model/painted --data DATA --pretrained build/model/run \\
          --autoencoder build/model/first --out build/worth
    """
    from studies.training import worth
    from studies.training.runs import StoppedError
    from studies.training.worth_report import write_report
    from training.evaluate.run import Bench

    grid, tables = worth.read(plan or worth.PLAN)
    cells = worth.make_grid(grid, tables, worth.read_weights(pretrained, autoencoder), shards, out)
    offered = {"start": starts, "lenses": numbers, "seed": seeds}
    for name, wanted in offered.items():
        there = list(dict.fromkeys(getattr(cell, name) for cell in cells))
        for value in wanted:
            if value not in there:
                known = ", ".join(map(str, there))
                raise click.BadParameter(f"{value} is not in the grid, which has {known}.", param_hint=f"--{name}")
    chosen = [cell for cell in cells if all(not some or getattr(cell, name) in some for name, some in offered.items())]
    text = write_report(cells, out)
    try:
        bench = Bench(data, [worth.TASK], side=cells[0].config.model.window, say=_say)
        for cell in worth.run(chosen, shards, bench):
            text = write_report(cells, out)
            _say(f"finished: {cell.folder.name}")
    except StoppedError as stopped:
        sys.exit(128 + stopped.number)
    click.echo(text)


@cli.command("residuals")
@click.option(
    "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="[default: small-lens.toml]"
)
@click.option("--shards", type=_HERE, required=True, help="Cutouts with painted lenses.")
@click.option("--begin", type=_HERE, required=True, help="Run or release of the second stage.")
@click.option("--data", type=_HERE, required=True, help="Folder of development data.")
@click.option(
    "--out",
    type=_FOLDER,
    required=True,
    help="Folder of the runs, of cutouts as large as those of --shards, and of residuals.md.",
)
def residuals_command(config: Path | None, shards: Path, begin: Path, data: Path, out: Path) -> None:
    """Train a lens score on cutouts without the light of the galaxy in the middle, and one on them as they are.

    Interrupted, the same command goes on where it stopped.

    \b
    Example:
      python -m studies.training residuals --shards build/model/painted --begin build/model/run --data DATA \\
          --out build/residuals
    """
    from studies.training.residuals import CONFIG, compare
    from studies.training.runs import StoppedError
    from training.config import read
    from training.evaluate.report import row_of

    rows, first = [], None
    try:
        for name, results in compare(read(config or CONFIG), shards, begin, data, out):
            first = first or results
            measures = [("lens-score", measure) for measure in first["lens-score"].estimates]
            rows.append([name, *row_of(results, first, measures)])
            _write(out / "residuals.md", ["view", *(measure for _, measure in measures)], rows)
    except StoppedError as stopped:
        sys.exit(128 + stopped.number)
    click.echo((out / "residuals.md").read_text("utf-8"))


def _write(path: Path, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a Markdown table with its note."""
    from training.evaluate.report import INTERVAL

    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    write_text(path, "\n".join(lines) + f"\n\n{INTERVAL} {DIFFERENCE}\n")


def _say(text: str) -> None:
    click.echo(text, err=True)


def main() -> None:
    """Run the command line; a ``ScannerError`` becomes its report on stderr and exit code 1."""
    try:
        cli(prog_name="python -m studies.training")
    except ScannerError as error:
        click.echo(error.report(), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
