"""Every command and option that the documentation names exists: each line is parsed as it would be typed."""

from __future__ import annotations

import functools
import itertools
import re
import shlex
from pathlib import Path

import click
import pytest

from tests.docs.pages import PAGES, REPOSITORY, blocks, commands, name

OF_OTHERS = {"--nthreads", "--array", "--ntasks"}  # of Dask and SLURM
SHELLS = {page: [block for block in blocks(page) if block.language == "sh"] for page in PAGES}
TYPED = [(page, line) for page, found in SHELLS.items() for block in found for line in commands(block.text)]


def program(words: list[str]) -> tuple[click.Command, list[str]] | None:
    """Return the command of this project that ``words`` call, and its arguments; None for another program."""
    if words[0] == "scanner":
        command, rest = programs()["scanner"], words[1:]
    elif len(words) > 2 and words[1] == "-m" and words[2] in programs():
        command, rest = programs()[words[2]], words[3:]
    else:
        return None
    while isinstance(command, click.Group):
        chosen = command.get_command(click.Context(command), rest[0])
        assert chosen is not None, f"there is no command {rest[0]!r}"
        command, rest = chosen, rest[1:]
    return command, rest


@functools.cache
def programs() -> dict[str, click.Command]:
    """Return ``scanner`` and the modules that ``python -m`` runs."""
    from bench.__main__ import main as bench
    from export.__main__ import export_command
    from scanner.cli import main as scanner
    from studies.ranking import main as ranking
    from studies.real_tiles import main as real_tiles
    from studies.training.__main__ import cli as studies_training
    from training.__main__ import cli as training

    studies = {"ranking": ranking, "real_tiles": real_tiles, "training": studies_training}
    return {
        "scanner": scanner,
        "training": training,
        "export": export_command,
        "bench": bench,
        **{f"studies.{name}": command for name, command in studies.items()},
    }


def called(line: str) -> list[tuple[click.Command, list[str]]]:
    """Return each command of this project in a line of shell, without redirections and what stands before it."""
    found: list[tuple[click.Command, list[str]]] = []
    words = shlex.split(line, comments=True)
    for operator, group in itertools.groupby(words, key=("|", "&&", ">").__contains__):
        part = list(group)
        start = next((i for i, word in enumerate(part) if word == "scanner" or Path(word).name == "python"), None)
        if not operator and start is not None and (call := program(part[start:])):
            found.append(call)
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if SHELLS[page]], ids=name)
def test_every_line_can_be_typed(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that a page names need not exist, and ``--shard auto`` finds a SLURM array."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: Path(value))
    for variable, value in (("TASK_ID", "0"), ("TASK_MIN", "0"), ("TASK_MAX", "7"), ("TASK_COUNT", "8")):
        monkeypatch.setenv(f"SLURM_ARRAY_{variable}", value)
    for line in (line for where, line in TYPED if where == page):
        for command, words in called(line):
            try:
                command.make_context(command.name, words)
            except click.ClickException as error:
                pytest.fail(f"{line}: {error.format_message()}")


def test_the_pages_use_every_command() -> None:
    from scanner.cli import main

    context = click.Context(main)
    used = {command.name for _, line in TYPED for command, _ in called(line)}
    assert used >= {one for name in main.list_commands(context) for one in names(main.get_command(context, name))}


def names(command: click.Command | None) -> set[str | None]:
    """Return the name of a command, or those of the commands of a group."""
    assert command is not None
    if not isinstance(command, click.Group):
        return {command.name}
    context = click.Context(command)
    return set().union(*(names(command.get_command(context, one)) for one in command.list_commands(context)))


def flags(command: click.Command) -> set[str]:
    """Return the options of a command, and of the commands of a group."""
    own = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    if not isinstance(command, click.Group):
        return own
    context = click.Context(command)
    inner = (command.get_command(context, one) for one in command.list_commands(context))
    return own.union(*(flags(one) for one in inner if one))


def test_every_option_named_in_a_sentence_exists() -> None:
    known = OF_OTHERS.union(*map(flags, programs().values()))
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        for code in re.findall(r"`((?:--|scanner |python -m )[^`\n]+)`", text):
            unknown = set(re.findall(r"(?<!\S)--[a-z][a-z0-9-]+", code)) - known
            assert not unknown, f"{name(page)}: {sorted(unknown)}"


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE))
        assert named <= targets, f"{name(page)}: {sorted(named - targets)}"
