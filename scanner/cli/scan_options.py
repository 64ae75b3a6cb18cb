"""Parameter types and groups of options of ``scanner scan-tiles``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from scanner.cli.options import ShareType

F = TypeVar("F", bound=Callable[..., Any])


class BestOf(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """``best:N``."""

    name = "best:N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from scanner.scan.best_rows import parse

        try:
            return parse(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


def keep_options(command: F) -> F:
    """``--keep``, ``--like`` and ``--like-catalog``: store only what looks most like examples."""
    for option in (
        click.option(
            "--like-catalog",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Take the examples' vectors from this catalogue. [default: embed them now, from --root]",
        ),
        click.option(
            "--like",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Table of examples to keep by (ra, dec).",
        ),
        click.option("--keep", type=BestOf(), help="Store only the N rows of each tile that look most like --like."),
    ):
        command = option(command)
    return command


def machine_options(command: F) -> F:
    """``--workers``, ``--dask``, ``--dask-config``, ``--shard`` and ``--scratch``."""
    for option in (
        click.option("--scratch", type=click.Path(file_okay=False, path_type=Path), help="For copies of remote tiles."),
        click.option(
            "--shard", "share", type=ShareType(), help="Scan this share of the list; auto asks SLURM or CANFAR."
        ),
        click.option(
            "--dask-config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Get --workers from a batch system, or the GPUs here: Dask settings with a section jobqueue or cuda.",
        ),
        click.option("--dask", metavar="ADDRESS", help="Scan with the workers of this Dask scheduler."),
        click.option("--workers", type=click.IntRange(1), help="Scan with so many Dask workers."),
    ):
        command = option(command)
    return command
