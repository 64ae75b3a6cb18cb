"""What the commands write: data on standard output or in a file, and nothing else there."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalogs.render import render

if TYPE_CHECKING:
    from astropy.table import Table

_STREAM = "scanner.cli.output"


class DataCommand(click.Command):
    """A command whose standard output is data: what libraries print while it runs goes to standard error."""

    def invoke(self, ctx: click.Context) -> Any:
        # A command that runs others shares its stream with them.
        ctx.meta.setdefault(_STREAM, sys.stdout)
        with contextlib.redirect_stdout(sys.stderr):
            return super().invoke(ctx)


def show(data: str | bytes) -> None:
    """Write data to standard output: bytes as they are, text with a newline at its end."""
    unended = isinstance(data, str) and data != "" and not data.endswith("\n")
    click.echo(data, nl=unended, file=click.get_current_context().meta[_STREAM])


def emit(table: Table, fmt: str, output: Path | None) -> None:
    """Write a table in ``fmt`` to ``output`` (complete or not at all), or to standard output."""
    from catalogs.atomic import replacing

    rendered = render(table, fmt)
    if output is not None:
        with replacing(output) as temporary:
            temporary.write_bytes(rendered.encode() if isinstance(rendered, str) else rendered)
    elif fmt == "fits" and click.get_current_context().meta[_STREAM].isatty():
        raise click.UsageError("FITS is binary: give a file with --output, or redirect stdout.")
    else:
        show(rendered)
