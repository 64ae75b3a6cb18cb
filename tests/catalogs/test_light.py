"""``import catalogs`` costs nothing, and the room stands alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import catalogs

ROOT = Path(__file__).parents[2]


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    return {name.split(".")[0] for name in run.stdout.split()}


def test_import_loads_no_heavy_package():
    assert not loaded_after("import catalogs, catalogs.errors") & {"pyarrow", "astropy", "numpy", "annoy"}


def test_writing_needs_neither_annoy_nor_tables():
    assert not loaded_after("import catalogs.store.tile_store") & {"annoy", "astropy", "onnxruntime", "torch"}


def test_public_names_are_there():
    for name in catalogs.__all__:
        assert callable(getattr(catalogs, name))
    with pytest.raises(AttributeError):
        catalogs.nothing  # noqa: B018
