"""``python -m bench.search.large``: the index and a Lance dataset at ten million rows: recall, speed, bytes, memory.

Building and asking are run as the commands a user types, each with the highest PSS of all its processes (``peak_gb``),
and what of that is no page of a mapped file, which the system may take back (``peak_own_gb``).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import click

import catalogs
from bench.harness import machine, memory, report
from bench.harness.embeddings import Cloud
from bench.search import clouds, index, lance
from catalogs.atomic import write_json
from catalogs.index.build import IndexOptions, build_index
from scanner.system.output_path import OUTPUT_FILE
from scanner.system.resources import usable_cores

ROWS = 10_000_000


@click.command()
@click.option("--out", type=OUTPUT_FILE, default=Path("build/bench-large.json"))
@click.option("--rows", default=ROWS, show_default=True, type=click.IntRange(100_000), help="Rows of the catalogue.")
@click.option("--keep", is_flag=True, help="Leave catalogue and dataset beside --out.")
@click.option("--only-lance", is_flag=True, help="Only compare with Lance, in what an earlier run has left.")
def main(out: Path, rows: int, keep: bool, only_lance: bool) -> None:
    """Measure the index of a large catalogue; print and write JSON to --out.

    \b
    Example: python -m bench.search.large --rows 10000000
    """
    folder, source = out.parent / "bench-large", Cloud(clouds.DIM, rows)
    before = machine.reading()
    result: dict[str, Any] = {}
    if not only_lance:
        shutil.rmtree(folder, ignore_errors=True)
        result["index"] = _measure_index(clouds.place(folder, source), source)
    filled = clouds.catalogue(folder, source)
    build_index(filled, IndexOptions(jobs=usable_cores()))
    # The same rows as a Lance dataset, exported by the command, and asked in turns with the index.
    result["lance"] = lance.compare(filled, source.draw(index.QUERIES, stream=1))
    if not keep:
        shutil.rmtree(folder)
    click.echo(report.render("index", {name: [figures] for name, figures in result.items()}))
    write_json(out, {"machine": machine.facts() | {"load": machine.load_since(before)}, **result})


def _measure_index(folder: Path, source: Cloud) -> dict[str, Any]:
    figures: dict[str, Any] = index.catalogue(folder, source, index.QUERIES, in_steps=True)
    # The command builds the index again, so that its memory is measured.
    shutil.rmtree(catalogs.open(folder).path / "index")
    scanner = (sys.executable, "-c", clouds.COMMAND, "index", "--catalog", str(folder))
    for name, command in (("build", scanner), ("ask", (*scanner, "--verify"))):
        peak = memory.peak(command)
        figures[f"{name}_peak_gb"], figures[f"{name}_peak_own_gb"] = (peak.all, peak.own) if peak else (None, None)
    return figures


if __name__ == "__main__":
    main()
