"""``scanner info``: facts about a catalogue or a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from catalogs.render import FACT_FORMATS
from scanner.cli.options import catalog_option, format_option
from scanner.cli.output import DataCommand, show
from scanner.encoder.contract import DEFAULT_MODEL

DAMAGED = 1


@click.command(cls=DataCommand)
@catalog_option("--catalog", "Catalogue to describe.", lance=True)
@click.option("--model", metavar="NAME|FILE", help="Model to describe instead.")
@click.option(
    "--runtimes",
    is_flag=True,
    help="What computes a model on this machine, measured in images a second; takes up to a minute.",
)
@click.option("--verify", is_flag=True, help="Read every byte of the tiles, index and maps; exit code 1 on damage.")
@format_option(FACT_FORMATS)
def info(catalog: Path | str, model: str | None, runtimes: bool, verify: bool, fmt: str) -> int:
    """Describe a catalogue, a model, or what computes a model here.

    Files that are damaged, or belong to another catalogue, are listed.

    \b
    Examples:
      scanner info --catalog embeddings
      scanner info --catalog embeddings --verify
      scanner info --model small --format json
      scanner info --runtimes --model small
    """
    if runtimes:
        from scanner.encoder.comparison import compare

        compared = compare(model or DEFAULT_MODEL)
        show(json.dumps(compared, indent=2) if fmt == "json" else _table(compared))
        return 0
    from catalogs.lance.dataset import LanceStore
    from scanner.queries import describe

    if model:
        facts = describe.model(model)
    elif isinstance(catalog, str):
        facts = describe.dataset(LanceStore.open(catalog), verify)
    else:
        facts = describe.catalogue(catalog, verify)
    if fmt == "json":
        show(json.dumps(facts, indent=2))
    else:
        width = max(map(len, facts))
        show("\n".join(f"{name:<{width}}  {_text(value)}" for name, value in facts.items()))
    return DAMAGED if verify and facts.get("damaged") else 0


def _table(compared: dict[str, Any]) -> str:
    """What ``--runtimes`` found: a line for each way to compute, and what to say for the fastest."""
    from catalogs.text_table import text_table

    head = ["runtime", "precision", "device", "images/s", "of default", "centred cosine (least)", "neighbours"]
    rows, problems = [head], []
    for row in compared["runtimes"]:
        named = [row["runtime"], row["precision"], row["device"]]
        if "problem" in row:
            problems.append(f"{row['runtime']} {row['precision']}: {row['problem']} {row['hint']}")
        if "images_per_s" not in row:
            rows.append([*named, "-", "-", "-", "-"])
            continue
        cosine = f"{row['centred_cosine']:.4f} ({row['least_centred_cosine']:.4f})"
        speed = [f"{row['images_per_s']:,.0f}", f"{row['times_default']:.2f}"]
        rows.append([*named, *speed, cosine, f"{row['neighbour_overlap']:.1%}"])
    return "\n".join(
        [
            f"{compared['model']} on {compared['cores']} cores of {compared['processor']}",
            text_table(rows),
            *problems,
            f"Fastest here: {compared['recommended'] or 'the default'}. Only fp32 is exact.",
        ]
    )


def _text(value: object) -> str:
    if isinstance(value, list):
        # Failures get a line each; words, such as bands, share a line.
        return "\n".join(map(_text, value)) if value and isinstance(value[0], dict) else " ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    # For Python a bool is an int, but it must not be formatted as a number.
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
