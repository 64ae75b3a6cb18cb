"""The prose: short enough, spelt right, and British."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import codespell_lib
import pytest

from tests.docs.pages import PAGES, REPOSITORY, name, prose

COMPUTING = {"catalog", "catalogs", "dialog", "disk", "license", "program", "programs"}  # British in this trade too


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("page", [page for page in PAGES if "<!-- Made by" not in page.read_text()], ids=name)
def test_lines_fit_a_window(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert not [line for line in lines if len(line) > 132 and not line.startswith("|")]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_pictures_of_the_repository_exist(page: Path) -> None:
    """Sphinx checks the links of its pages to pages; pages are read on a code host too, pictures included."""
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    local = [target for target in targets if target and not re.match("[a-z]+:", target)]
    assert not [target for target in local if not (page.parent / target).exists()]


def test_nothing_is_misspelt() -> None:
    done = subprocess.run([sys.executable, "-m", "codespell_lib"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout == ""
    assert done.returncode == 0, done.stderr


def test_spelling_is_british() -> None:
    """codespell's table from British to American, read from right to left."""
    table = Path(codespell_lib.__file__).parent / "data" / "dictionary_en-GB_to_en-US.txt"
    pairs = [line.split("->") for line in table.read_text(encoding="utf-8").splitlines()]
    american = {right.split(",")[0].strip(): left for left, right in pairs} | {"color": "colour"}
    assert american["normalize"] == "normalise"
    for page in PAGES:
        words = {word.lower() for word in re.findall("[A-Za-z]+", prose(page))} - COMPUTING
        assert not {word: american[word] for word in words & set(american)}, name(page)
