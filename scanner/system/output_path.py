"""The type of options that name what a command writes at its end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from catalogs.atomic import refuse_unwritable


class OutputPath(click.Path):
    """A file or folder to write: one that cannot be written is refused before hours are spent on what goes there.

    ``replaced``: a folder is made beside its place and renamed, so it is the folder around it that is written to.
    """

    def __init__(self, *, dir_okay: bool = True, file_okay: bool = True, replaced: bool = False) -> None:
        super().__init__(dir_okay=dir_okay, file_okay=file_okay)
        self._replaced = replaced

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        refuse_unwritable(path, self._replaced)
        return path


OUTPUT_FILE = OutputPath(dir_okay=False)
OUTPUT_FOLDER = OutputPath(file_okay=False)
NEW_FOLDER = OutputPath(file_okay=False, replaced=True)
