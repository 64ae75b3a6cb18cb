"""``python -m bench``: measure, print tables, write JSON."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click

from bench.harness import machine, report
from bench.harness.setup import Setup
from catalogs.atomic import write_json
from scanner.encoder.contract import DEFAULT_MODEL
from scanner.system.output_path import OUTPUT_FILE

SECTIONS = {
    "encoder": "bench.encoder.encoder",
    "scan": "bench.scan",
    "efficiency": "bench.scan.efficiency",
    "store": "bench.search.store",
    "index": "bench.search.index",
    "lance": "bench.search.lance",
    "rank": "bench.search.rank",
    "passes": "bench.search.passes",
    "page": "bench.page",
    "publish": "bench.search.publish",
    "formats": "bench.encoder.formats",
    "readers": "bench.search.readers",
}
ON_DEMAND = ("efficiency", "formats", "readers")
"""Sections that are measured only where they are named: a part of the scan by itself, which others' loops take turns
with, and those whose answers change with a library, not with our code."""
PIXELS, FULL_PIXELS, QUICK_PIXELS = 1200, 10_000, 320
"""Sides of tiles that only give windows, of survey tiles (those of the scan), and of both in a quick run."""
BUSY = 0.2
"""Cores used by others above which seconds say little."""


@click.command()
@click.option("--out", type=OUTPUT_FILE, default=Path("build/bench.json"))
@click.option(
    "--section",
    "sections",
    multiple=True,
    type=click.Choice(list(SECTIONS)),
    help="Only this; may be repeated.  [default: all but efficiency, formats and readers]",
)
@click.option("--quick", is_flag=True, help="Tiny sizes and one turn: shows that it runs; the numbers mean nothing.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME|FILE", help="Encoder.")
@click.option("--pixels", type=click.IntRange(min=200), help=f"Side of the scanned tiles.  [default: {FULL_PIXELS}]")
@click.option(
    "--hyrax",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A Python that has Hyrax and timm, to run its infer on the same cutouts.  [default: this one, where it has]",
)
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="Scratch.  [default: bench beside --out]"
)
@click.option(
    "--embeddings",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Catalogue of real ones to search in.  [default: those of the packaged tile]",
)
def main(
    out: Path,
    sections: tuple[str, ...],
    quick: bool,
    model: str,
    pixels: int | None,
    hyrax: Path | None,
    folder: Path | None,
    embeddings: Path | None,
) -> None:
    """Measure the encoder, the scan, the store, search, ranking, the page, publishing; print tables, write JSON.

    \b
    Example: python -m bench --out build/bench.json --section scan
    """
    full = pixels or (QUICK_PIXELS if quick else FULL_PIXELS)
    scratch = (folder or out.parent / "bench").absolute()  # what is timed may work in another folder
    setup = Setup(model, scratch, min(full, PIXELS), quick, embeddings, full, hyrax)
    for folder_needed in (setup.folder, out.parent):
        folder_needed.mkdir(parents=True, exist_ok=True)
    loads: dict[str, Any] = {}
    result: dict[str, Any] = {"machine": {**machine.facts(), "quick": quick, "sections": loads}}
    for name in sections or [name for name in SECTIONS if name not in ON_DEMAND]:
        click.echo(f"{name}:", err=True)
        before = machine.reading()
        result[name] = import_module(SECTIONS[name]).measure(setup)
        loads[name] = machine.load_since(before)
        click.echo(report.render(name, result[name]))
        _warn_of(loads[name])
        write_json(out, result)
    click.echo(report.render("machine", result["machine"]))


def _warn_of(load: dict[str, Any]) -> None:
    others = load["cores_used_by_others"]
    if others is not None and others > BUSY:
        click.echo(
            f"Others kept {others:.1f} cores busy meanwhile: trust ratios and CPU-seconds, not seconds.\n", err=True
        )


if __name__ == "__main__":
    main()
