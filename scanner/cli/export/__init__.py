"""``scanner export``: write a catalogue in the format of another program."""

from __future__ import annotations

import click

from scanner.cli import LateGroup

COMMANDS = {
    "lance": "lance:lance",
}


@click.command(cls=LateGroup, late=COMMANDS, package=__name__)
def export() -> None:
    """Write a catalogue in the format of another program.

    \b
    Examples:
      scanner export lance objects --catalog embeddings
    """
