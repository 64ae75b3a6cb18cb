"""The house: which room may import which, and what the torch-free core may never load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
ROOMS = ("training", "export", "scanner", "catalogs")
NOT_PIXELS = {
    "cli",
    "encoder",
    "examples",
    "gallery",
    "model",
    "pipeline",
    "prepare",
    "query",
    "reader",
    "runtime",
    "scan",
}
MAY_IMPORT = {
    "catalogs": set(),
    "scanner": {"catalogs"},
    "training": {"scanner", "catalogs"},
    "export": {"training", "scanner", "catalogs"},
}
NEVER = {
    "catalogs": {"torch", "timm", "onnx", "onnxruntime"},
    "scanner": {"torch", "timm", "onnx"},
    "training": set(),
    "export": set(),
}


def imports(path: Path) -> Iterator[str]:
    """Dotted names of every module that a file imports, at any depth, relative ones made absolute."""
    package = path.relative_to(HOUSE).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            prefix = ".".join([*base, *filter(None, [node.module])])
            yield prefix
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def modules(room: str) -> list[Path]:
    return sorted((HOUSE / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_no_arrow_points_up(room: str) -> None:
    allowed = MAY_IMPORT[room] | {room}
    wrong = [
        f"{path.relative_to(HOUSE)} imports {name}"
        for path in modules(room)
        for name in imports(path)
        if (top := name.split(".")[0]) in NEVER[room] or (top in ROOMS and top not in allowed)
    ]
    assert modules(room)
    assert not wrong


def test_training_takes_only_pixels_from_the_scanner() -> None:
    """Training cuts with the scanner's own code, but knows nothing of models, sessions, catalogues or commands."""
    wrong = [
        f"{path.relative_to(HOUSE)} imports {name}"
        for path in modules("training")
        for name in imports(path)
        if name.startswith("scanner.") and name.split(".")[1] in NOT_PIXELS
    ]
    assert not wrong


def test_modules_stay_small() -> None:
    long = {
        str(path.relative_to(HOUSE)): lines
        for room in ROOMS
        for path in modules(room)
        if (lines := len(path.read_text().splitlines())) > 300
    }
    assert not long


def loaded_by(code: str) -> set[str]:
    """Top-level modules in ``sys.modules`` after running ``code`` in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code + "\nimport sys; print(*{name.split('.')[0] for name in sys.modules})"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


def test_help_loads_nothing_heavy() -> None:
    code = "from scanner.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert not loaded_by(code) & {"numpy", "astropy", "pyarrow", "onnxruntime", "scipy", "PIL", "torch"}


def test_importing_the_core_loads_no_torch() -> None:
    code = "\n".join(
        f"import {'.'.join(path.relative_to(HOUSE).with_suffix('').parts)}"
        for room in ("catalogs", "scanner")
        for path in modules(room)
        if not path.name.startswith("__")
    )
    assert not loaded_by(code) & {"torch", "timm", "torchvision", "onnx"}
