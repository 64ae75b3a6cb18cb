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

from scanner.cli.options import ShareType, catalog_option, report_format_option

if TYPE_CHECKING:
    from catalogs.index.build import IndexReport
    from catalogs.search.index_recall import Verified
    from scanner.scan.share import Share


@click.command()
@catalog_option("--catalog", "Catalogue to index.")
@click.option("--engine", type=click.Choice(["annoy", "faiss"]), help="What finds candidates.  [default: annoy]")
@click.option(
    "--index-dims",
    type=click.IntRange(1),
    help="Leading dimensions to index; answers are ranked again by all.  [default: 64, more if they hold too little]",
)
@click.option("--trees", type=click.IntRange(1, 1000), help="Trees a shard, of Annoy alone.  [default: 6]")
@click.option(
    "--target-recall",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Choose trees and search_k by measurement, so that recall@10 reaches this.",
)
@click.option("--shard-rows", type=click.IntRange(1000), help="Objects a shard at most.  [default: 1048576]")
@click.option("--jobs", type=click.IntRange(1), help="Shards to build at once.  [default: cores]")
@click.option("--shard", type=ShareType(), help="Build this share of the shards; auto asks SLURM or CANFAR.")
@click.option(
    "--verify",
    is_flag=True,
    help="Read every byte of what stands and build anew what is damaged; then measure recall against exact search, and "
    "the time a question takes.",
)
@report_format_option
def index(
    catalog: Path,
    engine: str | None,
    index_dims: int | None,
    trees: int | None,
    target_recall: float | None,
    shard_rows: int | None,
    jobs: int | None,
    shard: Share | None,
    verify: bool,
    fmt: str,
) -> None:
    """Make a catalogue fast to search. Only shards with new or changed tiles are built again.

    What is chosen is kept with the index, and holds for later runs and for queries. A query works without an index too,
    and always looks at every tile: those that the index does not cover are compared in full, more slowly.

    With --shard, many machines build one index; run it once without when all are through, which finishes it.

    \b
    Examples:
      scanner index --catalog embeddings
      scanner index --target-recall 0.95 --jobs 8 --verify
      scanner index --engine faiss --index-dims 96
      srun --ntasks 8 scanner index --shard auto && scanner index
    """
    import catalogs
    from catalogs.index import build as indexes
    from catalogs.search import index_recall
    from scanner.system.resources import usable_cores

    if shard and target_recall:
        raise click.UsageError("--target-recall is measured when all is built: give it without --shard.")
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    began = time.perf_counter()
    catalogue = catalogs.open(catalog)
    options = indexes.Options(
        engine=engine,
        dims=index_dims,
        trees=trees,
        target=target_recall,
        shard_rows=shard_rows or indexes.SHARD_ROWS,
        jobs=jobs or usable_cores(),
        share=(shard.number, shard.count) if shard else None,
        all_bytes=verify,
    )
    report = indexes.build(catalogue, options)
    seconds = time.perf_counter() - began
    verified = index_recall.verify(catalogue) if verify else None
    if fmt == "json":
        click.echo(json.dumps({**asdict(report), "verified": asdict(verified) if verified else None}))
    else:
        click.echo(_told(report, seconds))
        if verified:
            click.echo(_verified(verified))


def _told(report: IndexReport, seconds: float) -> str:
    text = (
        f"{report.rows:,} objects of {report.tiles:,} tiles indexed: {len(report.built)} shards built, "
        f"{len(report.kept)} kept, {report.bytes / 1e6:.1f} MB, {seconds:.1f} s"
    )
    return text + (f"; {report.skipped} objects have no sound vector" if report.skipped else "")


def _verified(found: Verified) -> str:
    recipe = found.recipe
    trees = f"{recipe.trees} trees, " if recipe.engine == "annoy" else ""
    lines = [
        f"{recipe.engine}, {recipe.dims} dimensions, {trees}effort {recipe.effort}; "
        f"{found.questions} questions to {found.rows:,} objects"
    ]
    for name, recall in (("recall@10", found.recall_at_10), ("recall@100", found.recall_at_100)):
        lines.append(f"{name:10}  {recall.value:.3f}  [{recall.low:.3f}, {recall.high:.3f}]")
    lines.append(f"a question  {found.index_ms:.1f} ms by the index, {found.exact_ms:.1f} ms exactly (median)")
    lines.append(f"by default  {'through the index' if found.default == 'index' else 'exactly: small enough'}")
    return "\n".join(lines)
