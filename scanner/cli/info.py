"""``scanner info``: facts about a catalogue or a model."""

from __future__ import annotations

import json
from pathlib import Path

import click

from catalogs.render import FACT_FORMATS
from scanner.cli.options import catalog_option, format_option
from scanner.cli.output import DataCommand, show

DAMAGED = 1


@click.command(cls=DataCommand)
@catalog_option("--catalog", "Catalogue to describe.")
@click.option("--model", metavar="NAME|FILE", help="Model to describe instead.")
@click.option("--verify", is_flag=True, help="Read every byte of the tiles, index and maps; exit code 1 on damage.")
@format_option(FACT_FORMATS)
def info(catalog: Path, model: str | None, verify: bool, fmt: str) -> int:
    """Describe a catalogue, or a model. Files that are damaged, or belong to another catalogue, are listed.

    \b
    Examples:
      scanner info --catalog embeddings
      scanner info --catalog embeddings --verify
      scanner info --model small --format json
    """
    from scanner.queries import describe

    facts = describe.model(model) if model else describe.catalogue(catalog, verify)
    if fmt == "json":
        show(json.dumps(facts, indent=2))
    else:
        width = max(map(len, facts))
        show("\n".join(f"{name:<{width}}  {_text(value)}" for name, value in facts.items()))
    return DAMAGED if verify and facts.get("damaged") else 0


def _text(value: object) -> str:
    if isinstance(value, list):
        # Failures get a line each; words, such as bands, share a line.
        return "\n".join(map(_text, value)) if value and isinstance(value[0], dict) else " ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    # For Python a bool is an int, but it must not be formatted as a number.
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
