"""``scanner demo``: the main job, from pixels to an answer, on the tile that ships with the package."""

from __future__ import annotations

import csv
import shlex
from pathlib import Path

import click

from scanner.cli.output import DataCommand, show
from scanner.web import PORT

DEMO = Path(__file__).parents[1] / "demo"


@click.command(cls=DataCommand)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="demo",
    show_default=True,
    help="Output folder.",
)
@click.option(
    "--serve", is_flag=True, help="Then open the page on the catalogue: scanner serve (needs the extra [web])."
)
@click.option(
    "--port",
    default=PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port of the page; 0 takes any that is free.",
)
@click.pass_context
def demo(ctx: click.Context, out: Path, serve: bool, port: int) -> None:
    """Scan, index and query the small simulated tile that comes with the package, and draw the answer.

    Prints each command as you would type it. The tile has all five UNIONS bands and several strong lenses.

    \b
    Examples:
      scanner demo --out demo
      scanner demo --serve
    """
    from catalogs.atomic import make_folder

    make_folder(out)
    catalog, gallery = str(out / "embeddings"), str(out / "gallery.png")
    lens = _lenses()[0]
    root = ("--root", str(DEMO))
    where = ("--ra", lens["ra"], "--dec", lens["dec"])
    for arguments in (
        ("scan-tiles", "--tiles", str(DEMO / "list.txt"), *root, "--out", catalog),
        ("index", "--catalog", catalog),
        ("query", *where, "-k", "15", "--catalog", catalog, *root, "--gallery", gallery),
        ("info", "--catalog", catalog),
    ):
        _run(ctx, arguments)
    show(f"\nThe lens (first) and what looks most like it: {gallery}")
    if serve:
        like = out / "lenses.csv"
        _write_lenses(like)
        at = () if port == PORT else ("--port", str(port))
        _run(ctx, ("serve", "--catalog", catalog, *root, "--like", str(like), "--project", str(out / "hunt"), *at))


def _lenses() -> list[dict[str, str]]:
    """The lenses of the truth table, brightest first."""
    with (DEMO / "truth.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["label"] == "lens"]


def _write_lenses(path: Path) -> None:
    """Write the positions of the lenses as a table to start from."""
    from catalogs.atomic import write_text

    write_text(path, "".join(f"{ra},{dec}\n" for ra, dec in [("ra", "dec"), *((r["ra"], r["dec"]) for r in _lenses())]))


def _run(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Print one command and run it as if it had been typed."""
    show(click.style(f"\n$ scanner {shlex.join(arguments)}", bold=True))
    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    name, rest = arguments[0], list(arguments[1:])
    # The words are parsed as those of a shell are, so that the printed command does the same.
    command = group.get_command(ctx, name)
    assert command is not None
    with command.make_context(name, rest, parent=ctx.find_root()) as inner:
        # A step that fails ends the demo with its own exit code.
        if code := command.invoke(inner):
            ctx.exit(code)
