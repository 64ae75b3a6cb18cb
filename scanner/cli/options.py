"""Parameter types and groups of options of the commands."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from catalogs.errors import ErrorCode, ScannerError
from catalogs.lance import PREFIX
from catalogs.render import FORMATS
from scanner.encoder.session import DEVICES
from scanner.system.output_path import OUTPUT_FILE, OutputPath

if TYPE_CHECKING:
    from scanner.scan.share import Share

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_CATALOG = "embeddings"


class SkyAngle(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """A right ascension or declination in degrees, or sexagesimal (``14:00:05.2``, ``14h00m05.2s``, ``-05:10:00``).

    Right ascensions are brought into [0, 360); declinations beyond the poles are refused.
    """

    def __init__(self, name: str, sexagesimal_unit: str) -> None:
        self.name = name
        self.sexagesimal_unit = sexagesimal_unit

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        # click may convert a value that is converted already.
        if isinstance(value, float):
            return value
        try:
            degrees = float(value)
        except ValueError:
            degrees = self._sexagesimal(value, param, ctx)
        if self is RA:
            from catalogs.sky.geometry import normalise_ra

            turned = float(normalise_ra(degrees))
            if math.isnan(turned):
                self.fail(f"{value} is not an angle within a turn of 0 to 360 degrees.", param, ctx)
            return turned
        # Comparisons with NaN are false, so NaN is refused too.
        if not abs(degrees) <= 90:
            self.fail(f"{value} is outside -90 to 90 degrees.", param, ctx)
        return degrees

    def _sexagesimal(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from astropy.coordinates import Angle

        try:
            return float(Angle(value, unit=self.sexagesimal_unit).degree)
        except ValueError:
            self.fail(f"{value!r} is neither degrees (210.02) nor sexagesimal (14:00:05, -05:10:00).", param, ctx)


RA = SkyAngle("ra", "hourangle")
DEC = SkyAngle("dec", "deg")


class Region(click.ParamType):  # type: ignore[type-arg]
    """A circle on the sky, ``RA,DEC,RADIUS``: angles as in ``SkyAngle``, the radius in arcsec."""

    name = "region"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if len(parts) != 3:
            self.fail(f"{value!r} is not RA,DEC,RADIUS, such as 210.02,54.35,900.", param, ctx)
        try:
            radius = float(parts[2])
        except ValueError:
            radius = -1.0
        # Half a circle is 648,000 arcsec.
        if not 0 <= radius <= 648_000:
            self.fail(f"{parts[2]!r} is not a radius in arcsec.", param, ctx)
        return RA.convert(parts[0], param, ctx), DEC.convert(parts[1], param, ctx), radius


REGION = Region()


class FigurePath(OutputPath):
    """A file for a figure, as PNG or PDF by its ending: another ending is refused before there is anything to draw."""

    name = "figure"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from scanner.figures.canvas import figure_format

        path = super().convert(value, param, ctx)
        try:
            figure_format(path)
        except ScannerError as error:
            self.fail(f"{error.message} {error.hint}", param, ctx)
        return path


FIGURE = FigurePath(dir_okay=False)


class ShareType(click.ParamType):  # type: ignore[type-arg]
    """``3/8``, or ``auto``: as the batch system says."""

    name = "i/n|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Share:
        from scanner.scan import share

        if value == share.AUTO:
            # The batch system tells each job of an array its number and their count.
            return share.from_environment(os.environ)
        try:
            return share.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class CatalogPlace(click.Path):
    """The folder of a catalogue, as a path; with ``lance`` also ``lance:`` and the place of a dataset, as text."""

    name = "directory"

    def __init__(self, lance: bool) -> None:
        super().__init__(file_okay=False, path_type=Path)
        self._lance = lance

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and value.startswith(PREFIX):
            if self._lance:
                return value
            command = ctx.command_path if ctx else "This command"
            message = f"{command} works on the folder of a catalogue, not on the Lance dataset {value}."
            hint = "Give the folder of the catalogue that it was exported from."
            raise ScannerError(ErrorCode.LANCE_NOT_SUPPORTED, message, hint)
        return super().convert(value, param, ctx)


def catalog_option(flag: str, help_text: str, lance: bool = False) -> Callable[[F], F]:
    """The folder of the catalogue; ``$SCANNER_CATALOG``, else ``./embeddings``, where it is not given.

    With ``lance`` it may be a Lance dataset.
    """
    return click.option(
        flag,
        "catalog",
        type=CatalogPlace(lance),
        metavar=f"DIRECTORY|{PREFIX}PLACE" if lance else None,
        envvar="SCANNER_CATALOG",
        default=DEFAULT_CATALOG,
        show_default=f"$SCANNER_CATALOG, else ./{DEFAULT_CATALOG}",
        help=help_text,
    )


def known_option(command: F) -> F:
    """``--known`` of every command that flags known lenses."""
    return click.option(
        "--known",
        "known_lists",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Known lenses of your own, beside those of the package; lenscat's catalog.csv replaces these. Repeatable.",
    )(command)


def image_options(command: F) -> F:
    """``--root`` and ``--survey`` of every command that reads pixels."""
    root = click.option(
        "--root", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the images."
    )
    named = "Survey of the images. [default: the catalogue's survey]"
    return root(click.option("--survey", metavar="NAME|FILE.toml", help=named)(command))


def gallery_options(help_text: str) -> Callable[[F], F]:
    """``--gallery`` and ``--band-names`` of every command that draws its answer."""
    names = click.option("--band-names", is_flag=True, help="Name the red, green and blue bands in each cutout.")
    gallery = click.option("--gallery", type=FIGURE, help=help_text)
    return lambda command: gallery(names(command))


def encoder_options(command: F) -> F:
    """``--model`` and ``--device`` of every command that may embed a position."""
    what = "Encoder for new positions. [default: the catalogue's model]"
    model = click.option("--model", metavar="NAME|FILE", help=what)
    return model(device_option(command))


def device_option(command: F) -> F:
    """``--device`` of every command that runs the encoder."""
    return click.option("--device", default=DEVICES[0], show_default=True, metavar="|".join(DEVICES), help="Device.")(
        command
    )


def format_option(formats: Sequence[str]) -> Callable[[F], F]:
    """``--format`` of a command; the first of ``formats`` is the default."""
    choice = click.Choice(formats)
    return click.option(
        "-f", "--format", "fmt", type=choice, default=formats[0], show_default=True, help="Format of the output."
    )


def output_options(command: F) -> F:
    """``--format`` and ``--output`` of every command that lists rows."""
    return file_option(format_option(FORMATS)(command))


def file_option(command: F) -> F:
    """``--output`` of every command that writes to standard output or to a file."""
    return click.option("-o", "--output", type=OUTPUT_FILE, help="File to write.")(command)


class BestOf(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """``best:N``."""

    name = "best:N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from scanner.scan.best_rows import parse

        try:
            # The library's error names the form; click adds the option's name.
            return parse(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


def keep_options(command: F) -> F:
    """``--keep``, ``--like`` and ``--like-catalog``: store only what looks most like examples."""
    for option in (
        click.option(
            "--like-catalog",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Catalogue with the embeddings of the examples. [default: embed them now, from --root]",
        ),
        click.option(
            "--like",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Table of examples (ra, dec) for --keep.",
        ),
        click.option("--keep", type=BestOf(), help="Rows of each tile to store, the most like --like. [default: all]"),
    ):
        command = option(command)
    return command


def machine_options(command: F) -> F:
    """``--workers``, ``--dask``, ``--dask-config``, ``--shard`` and ``--scratch``."""
    for option in (
        click.option(
            "--scratch", type=click.Path(file_okay=False, path_type=Path), help="Folder for copies of remote tiles."
        ),
        click.option(
            "--shard", "share", type=ShareType(), help="Share of the list to scan; auto asks SLURM or CANFAR."
        ),
    ):
        command = option(command)
    return cluster_options(command)


def cluster_options(command: F) -> F:
    """``--workers``, ``--dask`` and ``--dask-config``."""
    for option in (
        click.option(
            "--dask-config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Dask settings with a section jobqueue (workers of a batch system) or cuda (GPUs of this machine).",
        ),
        click.option("--dask", metavar="ADDRESS", help="Dask scheduler whose workers do the work."),
        click.option("--workers", type=click.IntRange(1), help="Number of Dask workers to start."),
    ):
        command = option(command)
    return command


def pass_options(command: F) -> F:
    """``--workers``, ``--dask`` and ``--dask-config`` of a command that passes over all rows of a catalogue.

    The command gets them as ``executor``: a context whose value runs the pass, None for this process.
    """

    @functools.wraps(command)
    def run(*, workers: int | None, dask: str | None, dask_config: Path | None, **options: Any) -> Any:
        from scanner.cluster.job import WorkerSource

        try:
            source = WorkerSource.of_options(workers, dask, dask_config)
        except ValueError as error:
            # Options that do not go together are an error of usage, as if click had refused them.
            raise click.UsageError(str(error)) from error
        if source is None:
            return command(executor=contextlib.nullcontext(), **options)
        from scanner.cluster.passes import DaskExecutor

        return command(executor=DaskExecutor(source), **options)

    return cluster_options(run)  # type: ignore[return-value]  # click gives the command its options by name
