"""``scanner inspect``: a hunt by a team, from its plan to the grades of all."""

from __future__ import annotations

import importlib

import click

COMMANDS = {
    "invite": "team:invite",
    "fakes": "team:fakes",
    "plan": "team:plan",
    "status": "team:status",
    "merge": "grades:merge",
    "agree": "grades:agree",
    "gallery": "grades:gallery",
    "negatives": "grades:negatives",
}


class InspectCommands(click.Group):
    """Commands that are imported when they are run, so that ``--help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(f".{module}", __name__), attribute)
        return command


@click.command(cls=InspectCommands)
def inspect() -> None:
    """Inspect by a team: invite, plan, merge, agree.

    The project is one that scanner hunt made. Inspectors grade on the page that scanner serve shows, blind to the score
    and to each other.

    \b
    Examples:
      scanner inspect invite hunt ann bob cid
      scanner inspect plan hunt --graders 2
      scanner inspect agree hunt -o consensus.csv
    """
