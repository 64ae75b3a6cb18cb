"""Options of a scan on many machines: workers, a share of the list, and room for copies of remote tiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from scanner.cluster import Where
    from scanner.scan.share import Shard

F = TypeVar("F", bound=Callable[..., Any])


class ShardType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """``3/8``, or ``auto``: as the batch system says."""

    name = "i/n|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        import os

        from scanner.scan import share as shard

        if value == shard.AUTO:
            return shard.from_environment(os.environ)
        try:
            return shard.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def machine_options(command: F) -> F:
    """``--workers``, ``--dask``, ``--dask-config``, ``--shard`` and ``--scratch``."""
    for option in (
        click.option("--scratch", type=click.Path(file_okay=False, path_type=Path), help="For copies of remote tiles."),
        click.option("--shard", type=ShardType(), help="Scan this share of the list; auto asks SLURM or CANFAR."),
        click.option(
            "--dask-config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Get --workers from a batch system, or the GPUs here: Dask settings with a section jobqueue or cuda.",
        ),
        click.option("--dask", "address", metavar="ADDRESS", help="Scan with the workers of this Dask scheduler."),
        click.option("--workers", type=click.IntRange(1), help="Scan with so many Dask workers."),
    ):
        command = option(command)
    return command


def where(workers: int | None, address: str | None, config: Path | None) -> Where | None:
    """The workers asked for, None for a scan in this process."""
    if address and (workers or config):
        raise click.UsageError("--dask has its own workers: give neither --workers nor --dask-config with it.")
    if config and not workers:
        raise click.UsageError("--dask-config needs --workers: how many to ask for.")
    if not (workers or address):
        return None
    from scanner.cluster import Where

    return Where(workers, address, config)
