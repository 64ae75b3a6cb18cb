"""``scanner scan-tiles``: tiles to a catalogue of embeddings."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalogs.render import REPORT_FORMATS
from scanner.cli.options import (
    catalog_option,
    device_option,
    format_option,
    keep_options,
    machine_options,
)
from scanner.cli.output import DataCommand, show
from scanner.encoder.contract import DEFAULT_MODEL
from scanner.encoder.options import PRECISIONS, RUNTIMES
from scanner.scan.options import DETECT, MEMORY, SOURCES, TIME_LIMIT

if TYPE_CHECKING:
    from scanner.scan.report import ScanReport

SOME_TILES_FAILED = 3


@click.command(cls=DataCommand)
@click.option("--tiles", required=True, metavar="FILE", help="List of tiles; - is stdin.")
@click.option("--root", metavar="DIR|URL", default=".", help="Folder or URL of the images. [default: .]")
@click.option("--survey", default="unions", show_default=True, metavar="NAME|FILE.toml", help="Survey of the images.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME|FILE", help="Encoder.")
@catalog_option("--out", "Catalogue to make or to continue.")
@click.option(
    "--sources",
    default=DETECT,
    show_default=True,
    metavar="|".join((*SOURCES, "FILE")),
    help="Positions to embed: detected objects, a grid, or those of a catalogue (SExtractor .cat, FITS, VOTable, CSV, "
    "Parquet); {tile} in its path stands for the tile.",
)
@click.option("--stride", default=32, show_default=True, type=click.IntRange(1), help="Grid spacing in pixels.")
@keep_options
@click.option("--bands", metavar="BANDS", help="Bands to read, such as gri or g,r,i; the others count as missing.")
@click.option(
    "--min-snr",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Minimum signal-to-noise ratio of detected objects.",
)
@click.option("--resample", is_flag=True, help="Resampling of cutouts to the model's pixel scale.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=PRECISIONS[0],
    show_default=True,
    help="Number format: fp32 is exact, int8 faster on a CPU, fp16 on a GPU, bf16 with --runtime openvino. The loss is "
    "printed.",
)
@click.option(
    "--runtime",
    type=click.Choice(RUNTIMES),
    default=RUNTIMES[0],
    show_default=True,
    help="Software that computes the encoder; openvino is faster on many CPUs: see scanner info --runtimes.",
)
@click.option("--batch", type=click.IntRange(1), help="Cutouts per call of the encoder. [default: by device]")
@device_option
@click.option(
    "--readers",
    type=click.IntRange(0),
    help="Processes that read ahead. [default: one per 8 cores; beside a GPU all but two; as memory allows]",
)
@click.option(
    "--memory",
    type=click.Choice(MEMORY),
    default=MEMORY[0],
    show_default=True,
    help="Memory use; low reads each tile in strips, twice: the same rows, a third of the memory, one reader.",
)
@click.option(
    "--time-limit",
    default=TIME_LIMIT,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds to fetch a remote file, or to read a tile, whose reading process is then killed and replaced.",
)
@click.option("--verify", is_flag=True, help="Read the files of tiles that are done, and scan damaged ones again.")
@click.option(
    "--checksums/--no-checksums",
    default=True,
    show_default=True,
    help="Verification of images by the DATASUM and CHECKSUM in their headers, where they have them.",
)
@machine_options
@format_option(REPORT_FORMATS)
def scan_tiles(tiles: str, catalog: Path, fmt: str, **options: Any) -> int:
    """Find every object of every tile of a list, embed it, and store it in a catalogue.

    A line of the list is a tile (217.292, 217 292, CFIS.217.292), the path or the URL of one of its files, or a glob;
    # starts a comment. Run the same command to resume after an interruption: tiles that are done are skipped, tiles
    that failed are retried. Exit code 3: some tiles failed, all others are in the catalogue.

    \b
    Examples:
      scanner scan-tiles --tiles list.txt --root /data/unions
      echo 217.292 | scanner scan-tiles --tiles - --root /data/unions --out embeddings --min-snr 10
      scanner scan-tiles --tiles list.txt --root /data/unions --precision int8
      scanner scan-tiles --tiles list.txt --root /data/unions --runtime openvino --precision bf16
      scanner scan-tiles --tiles list.txt --sources 'cats/{tile}.cat' --bands gri --format json
      scanner scan-tiles --tiles list.txt --root https://host/unions --scratch /local --workers 4
      scanner scan-tiles --tiles list.txt --root /data/unions --dask-config slurm.yaml --workers 64 --device cuda
      scanner scan-tiles --tiles list.txt --sources grid --stride 16 --keep best:200 --like lenses.csv --out sweep
      scanner scan-tiles --tiles list.txt --root vos:UNIONS/tiles --shard auto
      echo 217.292 | scanner scan-tiles --tiles - --root /data/unions --verify
    """
    import scanner
    from scanner.api import OptionsError

    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        # The options have the names of the function's arguments.
        report = scanner.scan_tiles(tiles, catalog, **options, progress=True)
    except OptionsError as error:
        # Options that do not go together are an error of usage, as if click had refused them.
        raise click.UsageError(str(error)) from error
    show(json.dumps(report.to_dict()) if fmt == "json" else _summary(report, catalog))
    return SOME_TILES_FAILED if report.failed else 0


def _summary(report: ScanReport, catalog: Path) -> str:
    rate = report.objects / report.wall if report.wall else 0.0
    lines = [
        f"{report.count('done')} tiles done, {report.count('skipped')} done before, {report.count('failed')} failed: "
        f"{report.objects:,} objects in {report.wall:.1f} s ({rate:,.0f} a second), in {catalog}"
    ]
    for tile in report.failed:
        lines += [f"  {tile.tile}: {tile.message} [{tile.code}]", *([f"    {tile.hint}"] if tile.hint else [])]
    # A table of the survey is counted again by every tile, except for what depends on the tile's pixels.
    dropped = report.dropped
    if report.count("done") > 1:
        dropped = replace(dropped, not_numbers=0, off_sky=0, off_tile=0)
    if dropped.total:
        lines.append(f"  not embedded: {dropped}")
    if count := sum(bool(tile.notes) for tile in report.tiles):
        lines.append(f"  {count} tiles with notes: see their lines above, or --format json")
    return "\n".join(lines)
