"""The ``scanner`` command: parse, make one library call, render. Only here do errors become exit codes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from catalogs.errors import ScannerError
from scanner import __version__
from scanner.system.signals import raise_on_termination
from scanner.system.standard_streams import guarded_streams

BAD_SETUP, INTERRUPTED = 1, 130
# Module and function of each command, imported only when the command is run.
COMMANDS = {
    "scan-tiles": "scan_tiles:scan_tiles",
    "index": "index:index",
    "query": "query:query",
    "lenses": "lenses:lenses",
    "rank": "rank:rank",
    "evaluate-ranking": "evaluate_ranking:evaluate_ranking",
    "outliers": "outliers:outliers",
    "map": "map:map_",
    "serve": "serve:serve",
    "hunt": "serve:hunt",
    "verdicts": "serve:verdicts",
    "publish": "publish:publish",
    "export": "export:export",
    "info": "info:info",
    "demo": "demo:demo",
}


class LateGroup(click.Group):
    """Commands that are imported when they are run, so that ``--help`` is quick.

    ``late`` gives the module, below ``package``, and the function of each command by its name.
    """

    def __init__(self, *args: Any, late: Mapping[str, str], package: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._late, self._package = late, package

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._late)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._late:
            return None
        module, attribute = self._late[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(f".{module}", self._package), attribute)
        return command


class Commands(LateGroup):
    """All commands. A ``ScannerError`` becomes its message, hint and code on stderr and exit code 1.

    SIGINT and SIGTERM become 130.
    """

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        # Batch systems end a job by SIGTERM, which then stops a scan as Ctrl-C does.
        raise_on_termination()
        with guarded_streams():
            sys.exit(self._exit_code(args, *rest, **options))

    def _exit_code(self, args: Sequence[str] | None, *rest: Any, **options: Any) -> int:
        try:
            # In standalone mode click would handle errors itself and drop the exit code that a command returns.
            outcome = super().main(args, *rest, **{**options, "standalone_mode": False})
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except ScannerError as error:
            click.echo(error.report(), err=True)
            return BAD_SETUP
        except (click.Abort, KeyboardInterrupt):
            click.echo("Interrupted. Finished tiles are kept; run the same command to resume.", err=True)
            return INTERRUPTED
        return outcome if isinstance(outcome, int) else 0


@click.command(
    cls=Commands,
    late=COMMANDS,
    package=__name__,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="scanner")
def main() -> None:
    """Turn survey tiles into a searchable map of what the sky looks like.

    \b
    scanner scan-tiles --tiles list.txt --root /data/unions    embed every object of these tiles
    scanner index                                              make the catalogue fast to search
    scanner query --ra 210.02 --dec 54.35 --gallery out.png    what else looks like this?
    """
