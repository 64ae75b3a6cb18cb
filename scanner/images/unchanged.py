"""A tile whose files change while they are read: its pixels may be half of one version and half of another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catalogs.errors import ErrorCode, ScannerError
from scanner.images.band import files
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile

State = dict[Path, tuple[int, int, int] | None]


@contextmanager
def unchanged(survey: Survey, tile: Tile) -> Iterator[None]:
    """Whatever is read in the block comes from one version of the tile's files, or ``tile.changed`` is raised.

    A change shows in the inode, the size or the time of writing. It is named in place of whatever error it caused.
    """
    before = _state(survey, tile)
    try:
        yield
    except Exception as error:
        _compare(tile, before, _state(survey, tile), error)
        raise
    _compare(tile, before, _state(survey, tile))


def _state(survey: Survey, tile: Tile) -> State:
    return {path: _seen(path) for band, file in tile.files.items() for path in files(survey.band(band), file)}


def _seen(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _compare(tile: Tile, before: State, after: State, cause: Exception | None = None) -> None:
    changed = [str(path) for path, seen in before.items() if after[path] != seen]
    if changed:
        raise ScannerError(
            ErrorCode.TILE_CHANGED,
            f"Files of tile {tile.name} changed while they were read: {', '.join(changed)}.",
            "Are they still being copied? The same command tries the tile again.",
        ) from cause
