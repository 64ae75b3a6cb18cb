"""The type of options that name what a command writes at its end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from catalogs.atomic import refuse_unwritable


class OutputPath(click.Path):
    """A file or folder to write: one that cannot be written is refused before hours are spent on what goes there."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        refuse_unwritable(path)
        return path


OUTPUT_FILE = OutputPath(dir_okay=False)
OUTPUT_FOLDER = OutputPath(file_okay=False)
