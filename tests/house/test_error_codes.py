"""The list of error codes: each has a meaning, each is raised, and none decides anything by its prefix."""

from __future__ import annotations

import re
from pathlib import Path

from catalogs.errors import ErrorCode

HOUSE = Path(__file__).parents[2]
SOURCES = {
    path: path.read_text()
    for package in ("catalogs", "scanner", "training", "export", "tools")
    for path in sorted((HOUSE / package).rglob("*.py"))
}


def test_each_code_is_dotted_and_has_one_sentence_of_meaning() -> None:
    assert len(ErrorCode) > 150
    for code in ErrorCode:
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", code)
        assert code.name == code.upper().replace(".", "_")
        assert re.fullmatch(r"[A-Z-].*\.", code.meaning), code
    assert len({code.meaning for code in ErrorCode}) == len(ErrorCode)


def test_each_code_is_used() -> None:
    used = {name for path, text in SOURCES.items() for name in re.findall(r"ErrorCode\.([A-Z_0-9]+)", text)}
    assert used == set(ErrorCode.__members__)


def test_a_code_is_compared_whole() -> None:
    wrong = [str(path.relative_to(HOUSE)) for path, text in SOURCES.items() if re.search(r"code\.startswith", text)]
    assert not wrong, "behaviour must not hang on the prefix of an error code: name the codes in a set"
