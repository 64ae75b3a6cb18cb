"""Where the files of a tile lie: the layouts of its survey, tried with one listing of each folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeVar

from scanner.survey import templates
from scanner.survey.survey import Band, Survey

AnyPath = TypeVar("AnyPath", bound=PurePath)

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
_FILE = "{file}"
_FOLDER = "{folder}"


class Layout:
    """Finds files of one survey and caches the folders it has listed: a flat folder of 20,000 tiles is read once."""

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._layouts = [layout.removesuffix(_FILE).rstrip("/") for layout in survey.layouts]
        self._listings: dict[str, frozenset[str]] = {}

    def files(self, values: templates.Fields, bases: Iterable[Path]) -> Mapping[str, Path]:
        """Path of each band's file that exists; earlier bases win, then earlier file names, then earlier layouts.

        Raises:
            OSError: A folder that is there cannot be listed.
        """
        paths: dict[str, Path] = {}
        # The root may also be the folder of a named file; each base is searched once.
        for base in dict.fromkeys(map(str, bases)):
            for band in self._survey.bands:
                if band.name not in paths and (path := self._file(band, values, base)) is not None:
                    paths[band.name] = Path(path)
        return {name: paths[name] for name in self._survey.band_names if name in paths}

    def bases(self, path: AnyPath, band: str, values: templates.Fields) -> Iterator[AnyPath]:
        """Folders from which a layout of the survey leads to ``path``, a file of ``band``; its own folder first."""
        yield path.parent
        for inner in self._inner(self._survey.band(band), values):
            # A layout leads to the file if the path's folder ends as the layout's does; the rest is the base.
            parts = PurePosixPath(inner).parts
            if parts and path.parent.parts[-len(parts) :] == parts:
                yield type(path)(*path.parent.parts[: -len(parts)])

    def places(self, band: Band, values: templates.Fields) -> Iterator[str]:
        """Every path below a base that a band's file may have, best first, without access to the file system."""
        for template in band.files:
            for suffix in self._survey.suffixes:
                name = templates.fill(template + suffix, values)
                for inner in self._inner(band, values):
                    yield f"{inner}/{name}" if inner else name

    def _file(self, band: Band, values: templates.Fields, base: str) -> str | None:
        folders = []
        for inner in self._inner(band, values):
            # Step by step, so that each listing serves many tiles and a folder that is absent is never listed.
            folder = base
            for part in filter(None, inner.split("/")):
                if part not in self._listing(folder):
                    break
                folder = f"{folder}/{part}"
            else:
                folders.append(folder)
        for template in band.files:
            for suffix in self._survey.suffixes:
                name = templates.fill(template + suffix, values)
                for folder in folders:
                    if name in self._listing(folder):
                        return f"{folder}/{name}"
        return None

    def _inner(self, band: Band, values: templates.Fields) -> Iterator[str]:
        """The folder of each layout below a base, for each of the band's own folders."""
        for layout in self._layouts:
            # A layout without {folder} is the same for all folders of the band, so it counts once.
            for folder in band.folders if _FOLDER in layout else ("",):
                yield templates.fill(layout, {**values, "folder": folder})

    def list_folder(self, folder: str) -> frozenset[str]:
        """List a folder once; ``OSError`` if it is not there or cannot be read."""
        if folder not in self._listings:
            # One listing serves all tiles of the folder; a test for each file would be slow on a network disk.
            self._listings[folder] = frozenset(entry.name for entry in os.scandir(folder))
        return self._listings[folder]

    def _listing(self, folder: str) -> frozenset[str]:
        try:
            return self.list_folder(folder)
        except OSError as error:
            # A folder that may not be read is no reason to scan its tiles without a band.
            if error.errno not in _ABSENT:
                raise
            self._listings[folder] = frozenset()
            return self._listings[folder]
