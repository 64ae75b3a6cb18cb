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
            # The library's error names the form; click adds the option's name.
            return parse(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


def keep_options(command: F) -> F:
    """``--keep``, ``--like`` and ``--like-catalog``: store only what looks most like examples."""
    for option in (
        click.option(
            "--like-catalog",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Catalogue with the embeddings of the examples. [default: embed them now, from --root]",
        ),
        click.option(
            "--like",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Table of examples (ra, dec) for --keep.",
        ),
        click.option("--keep", type=BestOf(), help="Rows of each tile to store, the most like --like. [default: all]"),
    ):
        command = option(command)
    return command


def machine_options(command: F) -> F:
    """``--workers``, ``--dask``, ``--dask-config``, ``--shard`` and ``--scratch``."""
    for option in (
        click.option(
            "--scratch", type=click.Path(file_okay=False, path_type=Path), help="Folder for copies of remote tiles."
        ),
        click.option(
            "--shard", "share", type=ShareType(), help="Share of the list to scan; auto asks SLURM or CANFAR."
        ),
        click.option(
            "--dask-config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Dask settings with a section jobqueue (workers of a batch system) or cuda (GPUs of this machine).",
        ),
        click.option("--dask", metavar="ADDRESS", help="Dask scheduler whose workers scan."),
        click.option("--workers", type=click.IntRange(1), help="Number of Dask workers to start."),
    ):
        command = option(command)
    return command
