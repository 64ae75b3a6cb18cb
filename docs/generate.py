"""Write the pages of the site that are made from the code: ``python docs/generate.py``.

``reference/cli.md`` comes from the help of the commands, ``reference/errors.md`` from the error codes,
``reference/columns.md`` from the schema of a catalogue, and the room table of ``develop/architecture.md`` from
``tests/house/arrows.toml``. The pages are kept in the repository; ``tests/docs/test_reference.py`` compares them.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import click

DOCS = Path(__file__).parent
REPOSITORY = DOCS.parent
COMMAND = "python docs/generate.py"
BANDS, DIM = ("u", "g", "r", "i", "z"), 192  # of a UNIONS catalogue made with the shipped model
ROOMS = re.compile("(?<=<!-- rooms -->\n).*?(?=<!-- end of rooms -->)", re.DOTALL)

PHOTOMETRY = """\
## Photometry

- `flux_BAND` and `mag_BAND` are those of a circular aperture of 3 arcsec diameter, in the pixels of each band, above
  the local background. They are not corrected for light outside the aperture, nor for extinction. Bands are not
  brought to one PSF, so a difference of seeing changes a colour.
- `fluxerr_BAND` is the background noise in the aperture. Where the band has a variance plane, it is the sum of the
  variances. Without such a plane, the photon noise of the source is not in it. Pixels are taken as independent. Where
  resampling correlates them, apertures scatter by more than `fluxerr_BAND`.
- `flux_auto`, `mag_auto`, `a`, `b`, `theta`, `flux_radius` and `snr` are measured in the band that `detection_band`
  names. In `unions` that is r, or the first of i, g, z and u where r is missing or covers too little. Other surveys
  have an order of their own. Before you compare `mag_auto` of different tiles, see that the band is the same.
- `snr` is isophotal for a detected object. For positions of `--sources FILE` and `--sources grid` it is the flux of the
  3 arcsec aperture in the detection band over its error. The columns of shape and `flux_auto` are then NaN.
- `theta` is counted in the image, in degrees from its x axis towards its y axis. It is not east of north.
"""
FLAGS = {
    "OBJ_MERGED": "The object was separated from a neighbour (deblended).",
    "OBJ_TRUNC": "The object is cut off by the edge of the image.",
    "OBJ_DOVERFLOW": "The memory for deblending overflowed.",
    "OBJ_SINGU": "The object is one line of pixels, whose x and y are fully correlated.",
    "APER_TRUNC": "An aperture, of `flux_auto` or of the Kron radius, is cut off by the edge of the image.",
    "APER_HASMASKED": "Pixels of such an aperture hold no data, or belong to a neighbour.",
    "APER_ALLMASKED": "All pixels of such an aperture are of that kind.",
    "APER_NONPOSITIVE": "The flux for the Kron radius is not positive.",
}
"""Bits of ``flags`` by their names in SEP."""


def pages() -> dict[Path, str]:
    """Return each generated page, as its path and its text."""
    architecture = DOCS / "develop" / "architecture.md"
    return {
        DOCS / "reference" / "cli.md": "\n".join(command_line()),
        DOCS / "reference" / "errors.md": "\n".join(error_codes()),
        DOCS / "reference" / "columns.md": "\n".join(columns()),
        architecture: ROOMS.sub(lambda _: "\n".join(room_table()), architecture.read_text(encoding="utf-8")),
    }


def command_line() -> Iterator[str]:
    from export.__main__ import export_command
    from scanner.cli import main
    from training.__main__ import cli

    yield from _head(
        "Command line",
        "Standard output carries data only; messages go to standard error. Exit codes: 0 success, 1 wrong set-up, "
        "2 wrong command line, 3 some tiles or questions failed, 130 interrupted.",
    )
    for program, group in (("scanner", main), ("python -m training", cli)):
        context = click.Context(group, info_name=program)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield from _command(command, click.Context(command, info_name=name, parent=context))
    yield from _command(export_command, click.Context(export_command, info_name="python -m export"))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (f"## {context.command_path}", "", "```text", f"{context.command_path} {usage}", "```", "")
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith(("\b", "Example: ")):  # \b is click's mark for a block that keeps its lines
            heading, *lines = paragraph.removeprefix("\b\n").replace("Example: ", "Example:\n").splitlines()
            yield from (heading, "", "```sh", *(line.strip() for line in lines), "```", "")
        else:
            yield from (_cell(" ".join(paragraph.split())), "")
    options = [option for option in command.params if isinstance(option, click.Option)]
    records = [record for option in options if (record := option.get_help_record(context))]
    rows = ((_cell(f"`{flags}`".replace(" RANGE", "")), _cell(" ".join(text.split()))) for flags, text in records)
    yield from _table(("Option", "Meaning"), rows)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _command(inner, click.Context(inner, info_name=name, parent=context))


def error_codes() -> Iterator[str]:
    from catalogs.errors import ErrorCode

    yield from _head(
        "Error codes",
        "Each error is printed with its code in square brackets and with a hint that says what to do. "
        "Codes are stable: scripts may rely on them. Messages and hints may change. "
        "The catalogue keeps a tile's error in `failures/TILE.json`.",
    )
    codes = sorted(ErrorCode, key=lambda code: code.value)
    for prefix, members in groupby(codes, key=lambda code: code.value.split(".")[0]):
        yield from (f"## {prefix}", "")
        yield from _table(("Code", "Meaning"), ((f"`{code.value}`", _cell(code.meaning)) for code in members))


def columns() -> Iterator[str]:
    from catalogs.store.schema import catalogue_schema
    from catalogs.store.scores import Scores

    yield from _head(
        "Columns",
        f"These are the columns of a tile's file, in order, for the bands {', '.join(BANDS)} and the shipped model. "
        "A catalogue has `score_lens` and other scores where its [model file](model-file.md) gives them, at the "
        "prevalence that it states. "
        "Each field of the Parquet schema carries its unit, UCD and description. No value is null; "
        "missing numbers are NaN.",
    )
    rows = []
    for field in catalogue_schema(BANDS, DIM, Scores(("lens",), 0.001, "An example.")):
        facts = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        kind = str(field.type).replace(" not null", "").replace("element: ", "")
        rows.append((f"`{field.name}`", kind, facts.get("unit", ""), facts.get("ucd", ""), _cell(facts["description"])))
    yield from _table(("Column", "Type", "Unit", "UCD", "Description"), rows)
    yield from PHOTOMETRY.splitlines()
    yield from ("", "## Flags", "")
    yield from ('`flags` is the sum of these bits of SEP. `--where "flags & 18 == 0"` leaves out bits 2 and 16.', "")
    yield from _table(("Bit", "Name", "Meaning"), ((str(bit), f"`{name}`", text) for bit, name, text in flags()))
    yield from ("Positions of `--sources FILE` and of `--sources grid` were not detected, and have 0.", "")


def flags() -> list[tuple[int, str, str]]:
    """Return the bits of ``flags`` by value: the bit, its name in SEP, and what it means here."""
    import sep

    return sorted((int(getattr(sep, name)), name, text) for name, text in FLAGS.items())


def room_table() -> Iterator[str]:
    arrows = tomllib.loads((REPOSITORY / "tests" / "house" / "arrows.toml").read_text(encoding="utf-8"))["rooms"]
    rows = ((f"`{room}`", _about(room), _short(room, allowed)) for room, allowed in arrows.items())
    yield ""
    yield from _table(("Room", "Holds", "May import"), rows)


def _short(room: str, allowed: Iterable[str]) -> str:
    """Return the names of rooms, without the package where it is the room's own."""
    package = room.split(".")[0]
    names = (f"all of {one}" if "." not in one else one.removeprefix(f"{package}.") for one in allowed)
    return ", ".join(names) or "none"


def _about(room: str) -> str:
    """Return the first paragraph of a room's docstring, read without importing it."""
    path = REPOSITORY.joinpath(*room.removesuffix(".*").split("."))  # "export.*": each module of the package
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return _cell(" ".join(text.split("\n\n")[0].split()).replace("``", "`"))


def _head(title: str, text: str) -> Iterable[str]:
    return (f"# {title}", "", f"<!-- Made by {COMMAND}; edit the code instead. -->", "", text, "")


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = tuple(heads)
    yield from (_row(heads), _row("---" for _ in heads), *map(_row, rows), "")


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Escape what Markdown would read as the border of a cell, as HTML or as emphasis."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
