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
from bench.search import index, lance
from catalogs.atomic import write_json

ROWS, DIM = 10_000_000, 192
COMMAND = "from scanner.cli import main; main()"


@click.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("build/bench-large.json"))
@click.option("--rows", default=ROWS, show_default=True, type=click.IntRange(100_000), help="Rows of the catalogue.")
@click.option("--keep", is_flag=True, help="Leave the catalogue beside --out.")
def main(out: Path, rows: int, keep: bool) -> None:
    """Measure the index of a large catalogue; print and write JSON to --out.

    \b
    Example: python -m bench.search.large --rows 10000000
    """
    folder = out.parent / "bench-large"
    shutil.rmtree(folder, ignore_errors=True)
    before = machine.reading()
    figures: dict[str, Any] = index.catalogue(folder, Cloud(DIM, rows), index.QUERIES, in_steps=True)
    filled = catalogs.open(folder)
    # The command builds the index again, so that its memory is measured.
    shutil.rmtree(filled.path / "index")
    scanner = (sys.executable, "-c", COMMAND, "index", "--catalog", str(folder))
    for name, command in (("build", scanner), ("ask", (*scanner, "--verify"))):
        peak = memory.peak(command)
        figures[f"{name}_peak_gb"], figures[f"{name}_peak_own_gb"] = (peak.all, peak.own) if peak else (None, None)
    # The same rows as a Lance dataset, exported by the command, and asked in turns with the index.
    objects = folder.with_name("bench-large-objects")
    shutil.rmtree(objects, ignore_errors=True)
    program = (sys.executable, "-c", COMMAND, "export", "lance", str(objects), "--catalog", str(folder))
    peaks: list[memory.Peak | None] = []
    questions = Cloud(DIM, rows).draw(index.QUERIES, stream=1)
    compared = lance.compare(filled, objects, questions, lambda: peaks.append(memory.peak(program)))
    peak = peaks[0]
    compared["export_peak_gb"], compared["export_peak_own_gb"] = (peak.all, peak.own) if peak else (None, None)
    shutil.rmtree(objects)
    result = {"machine": machine.facts() | {"load": machine.load_since(before)}, "index": figures, "lance": compared}
    if not keep:
        shutil.rmtree(folder)
    click.echo(report.render("index", {"index": [figures], "lance": [compared]}))
    write_json(out, result)


if __name__ == "__main__":
    main()
