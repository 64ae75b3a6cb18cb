"""``scanner export lance``: write a catalogue as a Lance dataset, which many machines can search."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalogs.lance import PREFIX, TARGET_RECALL
from catalogs.render import REPORT_FORMATS
from scanner.cli.options import catalog_option, format_option
from scanner.cli.output import DataCommand, show
from scanner.system.output_path import NEW_FOLDER

if TYPE_CHECKING:
    from catalogs.lance.tuning import Recall


@click.command(cls=DataCommand)
@click.argument("out", type=NEW_FOLDER)
@catalog_option("--catalog", "Catalogue to export.")
@click.option("--where", metavar="FILTER", help='Filter of the rows, such as "mag_auto < 23".')
@click.option(
    "--columns",
    metavar="NAME,NAME",
    help="Columns to store besides those that every command needs, such as positions and scores. [default: all]",
)
@click.option("--float16", is_flag=True, help="Store embeddings in half precision: half the bytes.")
@click.option(
    "--target-recall",
    default=TARGET_RECALL,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Recall@10 for which the search is tuned by measurement.",
)
@click.option("--verify", is_flag=True, help="Measure recall against a comparison with all rows, and times.")
@format_option(REPORT_FORMATS)
def lance(
    out: Path,
    catalog: Path,
    where: str | None,
    columns: str | None,
    float16: bool,
    target_recall: float,
    verify: bool,
    fmt: str,
) -> None:
    """Write a catalogue to the folder OUT as a Lance dataset, with its indexes. It needs the package pylance.

    Every object is written once, in the order of the sky. Copy OUT to a shared disk or an object store, and any number
    of machines can search it: scanner query --catalog lance:OUT. A dataset is never changed: export a catalogue that
    has grown to another folder. OUT appears when it is complete: to resume an interrupted run, repeat the command.

    \b
    Examples:
      scanner export lance /archive/objects --catalog embeddings
      scanner export lance bright --where "mag_auto < 21" --columns mag_auto,mag_r --float16 --verify
    """
    import catalogs
    from catalogs.lance import tuning
    from catalogs.lance.dataset import LanceStore
    from catalogs.lance.export import LanceOptions, export
    from scanner.scan.progress import Bar, Quiet

    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    names = tuple(name.strip() for name in columns.split(",")) if columns is not None else None
    options = LanceOptions(where, names, float16, target_recall)
    # A bar that moves would fill a log file.
    with Bar(unit="row") if sys.stderr.isatty() else Quiet() as bar:
        report = export(catalogs.open(catalog), out, options, bar.reached)
    store = LanceStore.open(report.path)
    recall = tuning.RecallTest(store).measure(report.search) if verify and report.search else None
    if fmt == "json":
        show(json.dumps({**asdict(report), "verified": asdict(recall) if recall else None}))
        return
    per_row = (report.data_bytes + report.index_bytes) / report.rows
    show(
        f"{report.path}: {report.rows:,} objects of {report.tiles:,} tiles, "
        f"{(report.data_bytes + report.index_bytes) / 1e6:,.1f} MB ({per_row:,.0f} bytes a row)"
    )
    if report.search is None:
        show("There are too few rows for an index: a question is compared with all.")
    else:
        found = report.search
        show(f"{found.probes} of {found.lists} lists, {found.refine} times the rows: recall@10 {found.recall:.3f}")
    if recall is not None:
        show(_recall_text(recall))
    show(f"Search it: scanner query --catalog {PREFIX}{out} --ra RA --dec DEC")


def _recall_text(recall: Recall) -> str:
    lines = [f"{recall.questions} questions to {recall.rows:,} objects"]
    for name, one in (("recall@10", recall.recall_at_10), ("recall@100", recall.recall_at_100)):
        lines.append(f"{name:10}  {one.value:.3f}  [{one.low:.3f}, {one.high:.3f}]")
    lines.append(f"a question  {recall.index_ms:.1f} ms by the index, {recall.exact_ms:.1f} ms exactly, many at once")
    return "\n".join(lines)
