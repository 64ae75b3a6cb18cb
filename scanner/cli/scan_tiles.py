"""``scanner scan-tiles``: tiles to a catalogue of embeddings."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scanner.cli.keeping import BestOf, kept
from scanner.cli.options import catalog_option, default_readers
from scanner.cli.scan_options import machine_options, where
from scanner.encoder.contract import DEFAULT_MODEL, PRECISIONS
from scanner.scan.options import LOW, NORMAL, TIME_LIMIT

if TYPE_CHECKING:
    from scanner.scan.report import ScanReport
    from scanner.scan.share import Shard

SOME_TILES_FAILED = 3


@click.command()
@click.option("--tiles", required=True, metavar="FILE", help="List of tiles; - is stdin.")
@click.option("--root", metavar="DIR|URL", default=".", help="Where the images are.")
@click.option("--survey", default="unions", show_default=True, metavar="NAME|FILE.toml", help="How files are named.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME|FILE", help="Encoder.")
@catalog_option("--out", "Catalogue to make or go on with.")
@click.option(
    "--sources",
    default="detect",
    show_default=True,
    metavar="detect|grid|FILE",
    help="Where to look; FILE is a catalogue (SExtractor .cat, FITS, VOTable, CSV, Parquet), with {tile} one a tile.",
)
@click.option("--stride", default=32, show_default=True, type=click.IntRange(1), help="Of the grid, in pixels.")
@click.option("--keep", type=BestOf(), help="Store only the N rows of each tile that look most like --like.")
@click.option(
    "--like",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of examples to keep by (ra, dec).",
)
@click.option(
    "--like-catalog",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Take the examples' vectors from this catalogue. [default: embed them now, from --root]",
)
@click.option("--bands", metavar="BANDS", help="Bands to read, such as gri or g,r,i; the others count as missing.")
@click.option("--min-snr", default=5.0, show_default=True, type=click.FloatRange(0), help="Of detected objects.")
@click.option("--resample", is_flag=True, help="Bring windows of other pixel scales to the model's.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="Number format: fp32 is exact, int8 faster on a CPU, fp16 on a GPU. What it costs is printed.",
)
@click.option("--batch", type=click.IntRange(1), help="Windows a session call. [default: as measured for the device]")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N|tensorrt")
@click.option(
    "--readers",
    type=click.IntRange(0),
    help="Processes that read ahead. [default: one per 8 cores; beside a GPU all but two; as memory allows]",
)
@click.option(
    "--memory",
    type=click.Choice([NORMAL, LOW]),
    default=NORMAL,
    show_default=True,
    help="low reads each tile in strips, twice: the same rows, a third of the memory, one reader.",
)
@click.option(
    "--time-limit",
    default=TIME_LIMIT,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds to read a tile before its reading process counts as hung and is replaced.",
)
@machine_options
@click.option("-f", "--format", "fmt", type=click.Choice(["text", "json"]), default="text", show_default=True)
def scan_tiles(
    tiles: str,
    root: str,
    survey: str,
    model: str,
    catalog: Path,
    sources: str,
    stride: int,
    keep: int | None,
    like: Path | None,
    like_catalog: Path | None,
    bands: str | None,
    min_snr: float,
    resample: bool,
    precision: str,
    batch: int | None,
    device: str,
    readers: int | None,
    memory: str,
    time_limit: float,
    workers: int | None,
    address: str | None,
    dask_config: Path | None,
    shard: Shard | None,
    scratch: Path | None,
    fmt: str,
) -> int:
    """Find every object of every tile of a list, embed it, and keep it in a catalogue.

    A line of the list is a tile (217.292, 217 292, CFIS.217.292), the path or the URL of one of its files, or a glob;
    # starts a comment. Tiles that are done are skipped, so the same command goes on after an interruption, and tries
    again what failed. Exit code 3: some tiles failed, all others are in the catalogue.

    \b
    Examples:
      scanner scan-tiles --tiles list.txt --root /data/unions
      echo 217.292 | scanner scan-tiles --tiles - --root /data/unions --out embeddings --min-snr 10
      scanner scan-tiles --tiles list.txt --root /data/unions --precision int8
      scanner scan-tiles --tiles list.txt --sources 'cats/{tile}.cat' --bands gri --format json
      scanner scan-tiles --tiles list.txt --root https://host/unions --scratch /local --workers 4
      scanner scan-tiles --tiles list.txt --root /data/unions --dask-config slurm.yaml --workers 64 --device cuda
      scanner scan-tiles --tiles list.txt --sources grid --stride 16 --keep best:200 --like lenses.csv --out sweep
      scanner scan-tiles --tiles list.txt --root vos:UNIONS/tiles --shard auto
    """
    import catalogs
    from scanner import cluster
    from scanner.encoder.encoder import Encoder, log_cost
    from scanner.scan import run as scan
    from scanner.scan.options import ScanOptions
    from scanner.scan.progress import Bar, Lines
    from scanner.survey import tile_list
    from scanner.survey.survey import load

    place = where(workers, address, dask_config)
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    with ExitStack() as stack:
        # The contract is read first. On a cluster the device is the workers'; the machine that asks may have none.
        encoder = stack.enter_context(Encoder(model, "cpu" if place else device, batch=batch, precision=precision))
        log_cost(encoder)
        plan = load(survey)
        listed = tile_list.read_list(tiles, plan, root)
        if shard is not None:
            listed = shard.of(listed)
        options = ScanOptions(
            sources=sources,
            bands=_bands(bands),
            min_snr=min_snr,
            stride=stride,
            keep=kept(keep, like, like_catalog, plan, encoder, root),
            resample=resample,
            readers=default_readers() if readers is None else readers,
            memory=memory,
            time_limit=time_limit,
            scratch=(scratch or Path(tempfile.gettempdir())) if any(tile.remote for tile in listed) else None,
        )
        run = scan.make_run(plan, encoder, options, model=Path(model).name if Path(model).is_file() else model)
        catalogue = catalogs.create(catalog, run)
        progress = stack.enter_context(Bar(len(listed))) if sys.stderr.isatty() else Lines(len(listed))
        if place is None:
            report = scan.scan_tiles(listed, plan, encoder, catalogue, run, options, progress)
        else:
            report = cluster.scan_tiles(
                listed, plan, encoder, catalogue, run, options, place, device=device, batch=batch, progress=progress
            )
    click.echo(json.dumps(report.to_dict()) if fmt == "json" else _summary(report, catalog))
    return SOME_TILES_FAILED if report.failed else 0


def _bands(text: str | None) -> tuple[str, ...] | None:
    """``gri`` and ``g,r,i`` alike."""
    if text is None:
        return None
    return tuple(part.strip() for part in text.split(",")) if "," in text else tuple(text)


def _summary(report: ScanReport, catalog: Path) -> str:
    rate = report.objects / report.wall if report.wall else 0.0
    lines = [
        f"{report.count('done')} tiles done, {report.count('skipped')} done before, {report.count('failed')} failed: "
        f"{report.objects:,} objects in {report.wall:.1f} s ({rate:,.0f} a second), in {catalog}"
    ]
    for tile in report.failed:
        lines += [f"  {tile.tile}: {tile.message} [{tile.code}]", *([f"    {tile.hint}"] if tile.hint else [])]
    return "\n".join(lines)
