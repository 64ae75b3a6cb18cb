"""``python -m training``: from tiles to a trained masked autoencoder. A command is imported when it is called."""

from __future__ import annotations

import importlib

import click

from scanner.system.standard_streams import run_program

COMMANDS = {
    "simulate": ("training.cli.simulate", "simulate", "Render survey-like tiles with lenses in them."),
    "inject": ("training.cli.inject", "inject_command", "Paint lenses into survey tiles, with a truth table."),
    "cutouts": ("training.cli.cutouts", "cutouts_command", "Cut tiles and fields into training shards."),
    "pretrain": ("training.cli.pretrain", "pretrain_command", "Train a masked autoencoder on shards."),
    "average": (
        "training.cli.pretrain",
        "average_command",
        "Average the weights of runs that differ in their seed.",
    ),
    "reconstruct": (
        "training.cli.pretrain",
        "reconstruct_command",
        "Draw the reconstruction of masked cutouts by a checkpoint.",
    ),
    "evaluate": (
        "training.cli.evaluate",
        "evaluate_command",
        "Measure encoders on real lenses, pictures and simulations.",
    ),
}


class _Lazy(click.Group):
    """A group that imports torch or GalSim only for the command that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Train the encoder: simulate or collect tiles, cut them into shards, pre-train, evaluate."""


def main() -> None:
    """Run the command line."""
    run_program(cli, "python -m training")


if __name__ == "__main__":
    main()
