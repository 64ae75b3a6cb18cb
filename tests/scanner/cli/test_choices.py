"""A choice is spelt once, in the library: the options of the commands take it from there."""

from __future__ import annotations

import click
import pytest

from catalogs import render
from scanner.cli import COMMANDS, main, options
from scanner.encoder.options import PRECISIONS, RUNTIMES
from scanner.encoder.session import DEVICES, gpu_providers
from scanner.hunt import VERDICT_FORMATS
from scanner.scan.options import MEMORY, SOURCES


def parameter(command: str, name: str) -> click.Option:
    found = main.get_command(click.Context(main), command)
    assert found is not None
    return next(one for one in found.params if isinstance(one, click.Option) and one.name == name)


def test_output_formats_are_those_that_can_be_written() -> None:
    assert options.FORMATS == render.FORMATS


@pytest.mark.parametrize(("name", "choices"), [("precision", PRECISIONS), ("runtime", RUNTIMES), ("memory", MEMORY)])
def test_choices_of_a_scan_are_constants_of_the_library(name: str, choices: tuple[str, ...]) -> None:
    option = parameter("scan-tiles", name)
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == choices
    assert option.default == choices[0]


def test_open_choices_name_what_the_library_knows() -> None:
    assert parameter("scan-tiles", "sources").metavar == "|".join((*SOURCES, "FILE"))
    devices = [parameter(name, "device").metavar for name in ("scan-tiles", "query", "rank")]
    assert devices == ["|".join(DEVICES)] * 3
    for device in DEVICES[2:]:
        assert gpu_providers(device.replace("N", "1"))


def test_every_command_that_reports_offers_the_same_formats() -> None:
    formats = {
        tuple(option.type.choices)
        for command in COMMANDS
        for option in main.get_command(click.Context(main), command).params  # type: ignore[union-attr]
        if option.name == "fmt" and isinstance(option.type, click.Choice)
    }
    assert formats <= {options.FORMATS, render.REPORT_FORMATS, render.FACT_FORMATS, VERDICT_FORMATS}
