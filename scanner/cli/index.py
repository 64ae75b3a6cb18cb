"""``scanner index``: bring a catalogue's index up to date."""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalogs.index import ENGINES
from catalogs.render import REPORT_FORMATS
from scanner.cli.options import catalog_option, format_option
from scanner.cli.output import DataCommand, show

if TYPE_CHECKING:
    from catalogs.index.build import IndexReport
    from catalogs.search.index_recall import Verified


@click.command(cls=DataCommand)
@catalog_option("--catalog", "Catalogue to index.")
@click.option("--engine", type=click.Choice(ENGINES), help=f"Engine that finds candidates.  [default: {ENGINES[0]}]")
@click.option(
    "--index-dims",
    type=click.IntRange(1),
    help="Leading dimensions to index; candidates are ranked again by all.  [default: 64, more if needed]",
)
@click.option("--trees", type=click.IntRange(1, 1000), help="Trees of a shard (annoy only).  [default: 6]")
@click.option(
    "--target-recall",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Recall@10 for which trees and effort are chosen by measurement.",
)
@click.option("--shard-rows", type=click.IntRange(1000), help="Most objects of a shard.  [default: 1048576]")
@click.option("--jobs", type=click.IntRange(1), help="Shards to build at once.  [default: cores]")
@click.option(
    "--verify",
    is_flag=True,
    help="Check every byte of the index and rebuild damaged shards; then measure recall against exact search, and "
    "the time of a query.",
)
@format_option(REPORT_FORMATS)
def index(
    catalog: Path,
    engine: str | None,
    index_dims: int | None,
    trees: int | None,
    target_recall: float | None,
    shard_rows: int | None,
    jobs: int | None,
    verify: bool,
    fmt: str,
) -> None:
    """Make a catalogue fast to search. Only shards with new or changed tiles are rebuilt.

    Settings are kept with the index, for later runs and for queries. Queries work without an index too. They always
    search every tile: tiles that the index does not cover are compared in full, which is slower.

    \b
    Examples:
      scanner index --catalog embeddings
      scanner index --target-recall 0.95 --jobs 8 --verify
      scanner index --engine faiss --index-dims 96
    """
    import catalogs
    from catalogs.index.build import SHARD_ROWS, IndexOptions, build_index
    from catalogs.search import index_recall
    from scanner.system.resources import usable_cores

    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    # The time in the report is that of the index; imports and --verify are left out.
    began = time.perf_counter()
    catalogue = catalogs.open(catalog)
    options = IndexOptions(
        engine=engine,
        dims=index_dims,
        trees=trees,
        target=target_recall,
        shard_rows=shard_rows or SHARD_ROWS,
        # The cores that a batch system or container grants, which may be fewer than the machine has.
        jobs=jobs or usable_cores(),
        all_bytes=verify,
    )
    report = build_index(catalogue, options)
    seconds = time.perf_counter() - began
    verified = index_recall.verify(catalogue) if verify else None
    if fmt == "json":
        show(json.dumps({**asdict(report), "verified": asdict(verified) if verified else None}))
    else:
        show(_report_text(report, seconds))
        if verified:
            show(_recall_text(verified))


def _report_text(report: IndexReport, seconds: float) -> str:
    text = (
        f"{report.rows:,} objects of {report.tiles:,} tiles indexed: {len(report.built)} shards built, "
        f"{len(report.kept)} kept, {report.bytes / 1e6:.1f} MB, {seconds:.1f} s"
    )
    return text + (f"; {report.skipped} objects have no sound vector" if report.skipped else "")


def _recall_text(verified: Verified) -> str:
    settings = verified.recipe
    # Only annoy builds trees.
    trees = f"{settings.trees} trees, " if settings.engine == "annoy" else ""
    lines = [
        f"{settings.engine}, {settings.dims} dimensions, {trees}effort {settings.effort}; "
        f"{verified.questions} questions to {verified.rows:,} objects"
    ]
    for name, recall in (("recall@10", verified.recall_at_10), ("recall@100", verified.recall_at_100)):
        lines.append(f"{name:10}  {recall.value:.3f}  [{recall.low:.3f}, {recall.high:.3f}]")
    lines.append(f"a question  {verified.index_ms:.1f} ms by the index, {verified.exact_ms:.1f} ms exactly (median)")
    lines.append(f"by default  {'through the index' if verified.default == 'index' else 'exactly: small enough'}")
    return "\n".join(lines)
