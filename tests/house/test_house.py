"""The house: which room may import which (``arrows.toml``), and what the torch-free core may never load."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
ARROWS = tomllib.loads(Path(__file__).with_name("arrows.toml").read_text())
PACKAGES = tuple(ARROWS["packages"])
MOST_MODULES = 15
MOST_LINES = 400


def module_of(path: Path) -> str:
    """Dotted name of a file; that of a package for its ``__init__``."""
    return ".".join(path.relative_to(HOUSE).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_of(path): path for package in PACKAGES for path in sorted((HOUSE / package).rglob("*.py"))}


def room_of(module: str) -> str:
    """The first two names: a folder of a package, or a module that lies in the package itself."""
    return ".".join(module.split(".")[:2])


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all that a file imports, at any depth: of our own, modules; of others, what is written."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.relative_to(HOUSE)}:{node.lineno} imports relatively; write the whole name"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in FILES else str(node.module)


def allowed(module: str) -> list[str]:
    """Prefixes of what a module may import of our own."""
    package, room = module.split(".")[0], room_of(module)
    rooms = ARROWS["rooms"]
    return [room, *ARROWS["packages"][package], *rooms.get(room, rooms.get(f"{package}.*", []))]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_arrow_is_in_the_list(package: str) -> None:
    wrong = [
        f"room {room_of(module)} may not import room {room_of(name)}: {path.relative_to(HOUSE)} imports {name}"
        for module, path in FILES.items()
        if module.split(".")[0] == package and "." in module
        for name in imports(path)
        if name.split(".")[0] in PACKAGES
        and name != package  # the package itself offers its version
        and not any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed(module))
    ]
    assert not wrong, "\n".join(wrong)


def test_every_room_is_in_the_list_and_every_listed_room_exists() -> None:
    rooms = {
        room_of(module)
        for module in FILES
        if "." in module and not module.startswith(("export.", "studies.", "tools."))
    }
    listed = {room for room in ARROWS["rooms"] if not room.endswith(".*")}
    assert rooms == listed
    for room, others in ARROWS["rooms"].items():
        for other in others:
            assert other in FILES, f"{room} may import {other}, which does not exist"


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_go_in_no_circle(package: str) -> None:
    graph = {
        module: {name for name in imports(path) if name != module and name.split(".")[0] == package and name in FILES}
        for module, path in FILES.items()
        if module.split(".")[0] == package
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"circle of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("package", ARROWS["never"])
def test_the_core_imports_no_training_package(package: str) -> None:
    wrong = [
        f"{path.relative_to(HOUSE)} imports {name}"
        for module, path in FILES.items()
        if module.split(".")[0] == package
        for name in imports(path)
        if name.split(".")[0] in ARROWS["never"][package]
    ]
    assert not wrong


def test_rooms_and_modules_stay_small() -> None:
    folders: dict[Path, int] = {}
    for path in FILES.values():
        folders[path.parent] = folders.get(path.parent, 0) + (path.name != "__init__.py")
    assert not {str(folder): count for folder, count in folders.items() if count > MOST_MODULES}
    lines = {module: len(path.read_text().splitlines()) for module, path in FILES.items()}
    assert not {module: count for module, count in lines.items() if count > MOST_LINES}


def loaded_by(code: str) -> set[str]:
    """Modules in ``sys.modules`` after running ``code`` in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code + "\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=HOUSE,
    )
    return set(done.stdout.splitlines()[-1].split())


def test_help_loads_nothing_heavy() -> None:
    code = (
        "from scanner.cli import COMMANDS, main\n"
        "for name in [[], *([name] for name in COMMANDS)]:\n"
        "    try: main([*name, '--help'])\n"
        "    except SystemExit: pass"
    )
    assert not loaded_by(code) & {"numpy", "astropy", "pyarrow", "onnxruntime", "scipy", "PIL", "torch"}


def test_importing_the_core_loads_no_torch() -> None:
    core = [module for module in FILES if module.startswith(("catalogs", "scanner")) and "__main__" not in module]
    assert not loaded_by("\n".join(f"import {module}" for module in core)) & {"torch", "timm", "torchvision", "onnx"}


COMMAND_FILES = [path for module, path in FILES.items() if module.startswith(("scanner.cli.", "training.cli."))]


@pytest.mark.parametrize("path", COMMAND_FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_choices_come_from_the_library(path: Path) -> None:
    """A choice is spelt once, where it is acted on."""
    tree = ast.parse(path.read_text())
    local = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for whole in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for target in ast.walk(whole)
        if isinstance(target, ast.Name)
    }
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Choice")
    ]
    for call in calls:
        inside = [node for argument in call.args for node in ast.walk(argument)]
        spelt = [ast.unparse(node) for node in inside if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        spelt += [node.id for node in inside if isinstance(node, ast.Name) and node.id in local]
        assert not spelt, f"line {call.lineno}: take {spelt} from the library"
