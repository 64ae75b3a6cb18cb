"""Detection of files that change while they are read: half of the pixels would be of another version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catalogs.errors import ErrorCode, ScannerError
from scanner.images.band import files
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile

State = dict[Path, tuple[int, int, int] | None]
"""Inode, size and time of writing (ns) of each file; None where there is none."""


@contextmanager
def unchanged(survey: Survey, tile: Tile) -> Iterator[None]:
    """Make sure that all that is read in the block comes from one version of the tile's files.

    Raises:
        ScannerError: ``tile.changed``, in place of any other error that the change caused.
    """
    before = _state(survey, tile)
    try:
        yield
    except Exception as error:
        # A file that was written meanwhile explains the error better than the error itself.
        _compare(tile, before, _state(survey, tile), error)
        raise
    _compare(tile, before, _state(survey, tile))


def _state(survey: Survey, tile: Tile) -> State:
    state: State = {}
    for band, file in tile.files.items():
        for path in files(survey.band(band), file):
            try:
                status = path.stat()
                # A file that was replaced by a rename has another inode, whatever its size and time.
                state[path] = status.st_ino, status.st_size, status.st_mtime_ns
            except OSError:
                state[path] = None
    return state


def _compare(tile: Tile, before: State, after: State, cause: Exception | None = None) -> None:
    changed = [str(path) for path, state in before.items() if after[path] != state]
    if changed:
        raise ScannerError(
            ErrorCode.TILE_CHANGED,
            f"Files of tile {tile.name} changed while they were read: {', '.join(changed)}.",
            "Run the same command again when nothing writes to them; the tile is retried.",
        ) from cause
