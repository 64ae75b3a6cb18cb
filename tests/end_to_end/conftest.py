"""The command as a user types it, and a small catalogue made with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import small_tiles, tiny_encoder

SIDE = 320


@dataclass(frozen=True)
class Done:
    """What a command left: exit code, stdout (data) and stderr (for people)."""

    code: int
    out: str
    err: str


Scanner = Callable[..., Done]


@pytest.fixture(scope="session")
def no_torch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which torch, timm and onnx cannot be imported, in this process' children and theirs."""
    blocked = tmp_path_factory.mktemp("blocked")
    for name in ("torch", "torchvision", "timm", "onnx"):
        (blocked / f"{name}.py").write_text(f"raise ImportError('{name} is blocked')\n")
    return {**os.environ, "PYTHONPATH": str(blocked)}


@pytest.fixture(scope="session")
def scanner(no_torch: dict[str, str]) -> Scanner:
    """Runs ``scanner ARGUMENTS`` in a process of its own, with torch blocked."""

    def run(*arguments: object, cwd: Path | None = None, stdin: str = "", **environment: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-c", "from scanner.cli import main; main()", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd,
            input=stdin,
            env={**no_torch, **environment},
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real encoder."""
    return tiny_encoder.write(tmp_path_factory.mktemp("model") / "encoder.onnx", tiny_encoder.contract())


@pytest.fixture(scope="session")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two small five-band tiles and one with only g, r and i."""
    folder = tmp_path_factory.mktemp("field")
    for name, bands in zip(small_tiles.names(3), ("ugriz", "ugriz", "gri"), strict=True):
        small_tiles.write(folder, name, size=SIDE, bands=bands)
    return folder


@pytest.fixture(scope="session")
def catalogue(scanner: Scanner, model: Path, field: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue of those three tiles, scanned and indexed by the commands; not to be changed."""
    out = tmp_path_factory.mktemp("catalogue") / "embeddings"
    lines = "\n".join(small_tiles.names(3))
    done = scanner("scan-tiles", "--tiles", "-", "--root", field, "--model", model, "--out", out, stdin=lines)
    assert done.code == 0, done.err
    assert scanner("index", "--catalog", out).code == 0
    return out
