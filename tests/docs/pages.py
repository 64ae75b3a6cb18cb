"""The pages of the documentation and the blocks of code in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
IN_FRONT = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = [*(REPOSITORY / page for page in IN_FRONT), *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(?:<!-- (run[^>]*) -->\n)?```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text and line, and the mark above it (``run``: a command that a test runs)."""

    mark: str
    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(*found.groups(""), line=text.count("\n", 0, found.start(3))) for found in BLOCK.finditer(text)]


def commands(text: str) -> list[str]:
    """Return the lines of a shell block, with lines that end in a backslash joined."""
    return text.replace("\\\n", " ").splitlines()


def prose(page: Path) -> str:
    """Return a page without its code, its tables and its links' targets."""
    text = re.sub(r"^```.*?^```$|<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    text = "\n".join(line for line in text.splitlines() if not line.startswith("|"))
    return re.sub(r"`[^`]*`|\]\([^)]*\)", " ", text)


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))
