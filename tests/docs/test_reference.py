"""Pages that are made from the code are those that the code makes now."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from tests.docs.pages import REPOSITORY, name


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", REPOSITORY / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_pages_are_up_to_date(generate: ModuleType) -> None:
    pages = generate.pages()
    stale = [name(path) for path, text in pages.items() if path.read_text(encoding="utf-8") != text]
    assert len(pages) == 4
    assert not stale, f"run: {generate.COMMAND}"


def test_the_pages_hold_what_they_are_made_from(generate: ModuleType) -> None:
    text = {path.stem: made for path, made in generate.pages().items()}
    assert "## scanner scan-tiles" in text["cli"]
    assert "`--precision" in text["cli"]
    assert "`tile.missing_file`" in text["errors"]
    assert "| `ra` | double | deg | pos.eq.ra;meta.main |" in text["columns"]
    assert "| `scanner.images` |" in text["architecture"]
