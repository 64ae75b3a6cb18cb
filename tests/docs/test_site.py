"""The site builds without a warning, and a page loads nothing from another host."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import REPOSITORY

LOADED = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"([^\"]+)\"|<link[^>]*\shref=\"([^\"]+)\"")
IN_STYLES = re.compile(r"(?:url\(|@import )\s*['\"]?((?:https?:)?//[^'\")\s]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-qW", "--keep-going", "-d", str(out / "trees")]
    built = subprocess.run([*command, str(REPOSITORY / "docs"), str(out / "html")], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return out / "html"


def test_a_page_loads_nothing_from_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        loaded = [first or second for first, second in LOADED.findall(page.read_text(encoding="utf-8"))]
        assert len(loaded) > 2
        assert not [url for url in loaded if re.match(r"(https?:)?//", url)], page.name


def test_styles_load_nothing_from_another_host(site: Path) -> None:
    styles = sorted((site / "_static").rglob("*.css"))
    assert styles
    assert not [url for style in styles for url in IN_STYLES.findall(style.read_text(encoding="utf-8"))]
