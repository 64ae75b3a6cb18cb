"""Text is UTF-8 in every locale, and JSON and TOML are read in one place: found in the code, wherever it is called."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("bench", "catalogs", "docs", "export", "scanner", "scripts", "studies", "tools", "training")
FILES = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
OPENING = {"open", "TemporaryFile", "NamedTemporaryFile", "fdopen"}
# Methods of a path, and the number of arguments after which comes the encoding.
WHOLE_FILES = {"read_text": 0, "write_text": 1}
PROGRAMS = {"run", "Popen", "check_output"}
# Objects that have an ``open`` of their own, which opens no text.
OTHERS = {
    "Catalogue", "Image", "LanceCatalogue", "LanceStore", "TileStore", "catalogs", "catalogues", "cls",
    "fits", "fsspec", "os",
    "snapshot", "stream",
    "tarfile", "zipfile",
}  # fmt: skip


def calls(tree: ast.AST) -> Iterator[tuple[str, str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            yield node.func.attr, owner.id if isinstance(owner, ast.Name) else "", node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, "", node


def lacks_encoding(name: str, owner: str, call: ast.Call) -> bool:
    options = {word.arg: word.value for word in call.keywords}
    # Options that are unpacked cannot be seen here.
    if "encoding" in options or None in options:
        return False
    if name in PROGRAMS:
        return "text" in options or "universal_newlines" in options
    if name in WHOLE_FILES:
        return isinstance(call.func, ast.Attribute) and len(call.args) <= WHOLE_FILES[name]
    if name not in OPENING or owner in OTHERS:
        return False
    texts = [one.value for one in [*call.args, options.get("mode")] if isinstance(one, ast.Constant)]
    modes = [text for text in texts if isinstance(text, str) and set(text) <= set("rwxa+tb")]
    # A temporary file is binary by default, all others are text.
    return not any("b" in mode for mode in modes) and (bool(modes) or name == "open")


@pytest.mark.parametrize(
    ("code", "lacks"),
    [
        ("path.open()", True),
        ("open(path, 'w', newline='')", True),
        ("open(path, 'rb')", False),
        ("path.open('w', encoding='utf-8')", False),
        ("path.read_text()", True),
        ("path.read_text('utf-8')", False),
        ("path.write_text('x')", True),
        ("path.write_text('x', 'utf-8')", False),
        ("subprocess.run(x, text=True)", True),
        ("subprocess.run(x)", False),
        ("fits.open(path)", False),
        ("tempfile.TemporaryFile('w+')", True),
    ],
)
def test_the_search_finds_what_it_is_for(code: str, lacks: bool) -> None:
    assert any(lacks_encoding(*call) for call in calls(ast.parse(code))) == lacks


def test_every_text_file_has_its_encoding() -> None:
    assert len(FILES) > 200
    found = [
        f"{path.relative_to(REPOSITORY)}:{call.lineno}"
        for path in FILES
        for name, owner, call in calls(ast.parse(path.read_text(encoding="utf-8")))
        if lacks_encoding(name, owner, call)
    ]
    assert not found


def test_json_and_toml_are_read_by_one_module_whose_depth_is_bounded() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{call.lineno}"
        for path in FILES
        if path.relative_to(REPOSITORY).parts[0] in ("catalogs", "scanner", "training", "export", "studies")
        and path.name != "records.py"
        for name, owner, call in calls(ast.parse(path.read_text(encoding="utf-8")))
        if name in ("load", "loads") and owner in ("json", "tomllib")
    ]
    # What the package ships itself is no input.
    assert [one for one in found if not one.startswith("training/simulate/population.py")] == []
