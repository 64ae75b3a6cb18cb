"""Tiles of a list, whose lines are ids, paths of band files, URLs or globs. Hostile lines are marked first."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky import unions_grid as grid
from scanner.survey import templates
from scanner.survey import urls as remote
from scanner.survey.layout import Folders
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile
from scanner.survey.urls import Remote

MAX_LENGTH = 4096


@dataclass(frozen=True)
class Line:
    """One line that says something: its number from 1, its text with single spaces, and what is wrong with it."""

    number: int
    text: str
    complaint: str = ""


Lines = Sequence[Line]


def read_lines(source: str | Path) -> Lines:
    """Lines of a file, or of standard input for ``-``. Raises ``list.missing`` or ``list.unreadable``."""
    try:
        if str(source) == "-":
            return clean(sys.stdin)
        with Path(source).open(encoding="utf-8-sig", newline="\n") as file:
            return clean(file)
    except FileNotFoundError as error:
        raise ScannerError(
            ErrorCode.LIST_MISSING, f"There is no list {str(source)!r}.", "Give a file, or - for stdin."
        ) from error
    except (OSError, UnicodeError) as error:
        hint = "The list of tiles is a text file in UTF-8, one tile a line."
        raise ScannerError(
            ErrorCode.LIST_UNREADABLE, f"The list {str(source)!r} cannot be read: {error}.", hint
        ) from error


def clean(lines: Iterable[str]) -> Lines:
    """Comments (from # on, at the start or after a space) and blank lines go; the others keep their numbers."""
    kept = []
    for number, raw in enumerate(lines, 1):
        if raw.lstrip().startswith("#"):
            continue
        text = raw.split(" #")[0].split("\t#")[0].strip(" \t\r\n")
        if text:
            kept.append(Line(number, text if "/" in text else " ".join(text.split()), _complaint(text)))
    return kept


def _complaint(text: str) -> str:
    if len(text) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    if not text.isprintable() and not text.replace("\t", " ").isprintable():
        return "holds control characters"
    return ""


log = logging.getLogger(__name__)

_SAFE_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._,+-]{0,63}")


def read_list(source: str | Path, survey: Survey, root: str | Path = ".") -> list[Tile]:
    """Tiles of a list file (``-``: standard input), in its order, each once.

    Files are looked for under ``root`` (and beside those that the list names); both may be URLs, and then nothing is
    looked at yet. A line that stands for no tile becomes a
    tile with a ``problem``. Raises ``ScannerError``: ``list.missing``, ``list.unreadable``, ``list.empty``.
    """
    return parse(read_lines(source), survey, root)


def parse(lines: Lines, survey: Survey, root: str | Path = ".") -> list[Tile]:
    """Tiles of numbered lines (``clean`` makes them), duplicates merged and logged; ``list.empty`` if there is none."""
    finder = _Finder(survey, root)
    found: dict[str, Tile] = {}
    repeated = []
    for line in lines:
        for tile in finder.tiles(line):
            first = found.get(tile.name)
            if first and _named(tile) <= _named(first):
                repeated.append(f"{tile.name} (line {line.number})")
            found[tile.name] = _merged(first, tile)
    if not found:
        hint = "Give one tile a line: 217.292, the path of one of its files, or a glob."
        raise ScannerError(ErrorCode.LIST_EMPTY, "The list of tiles is empty.", hint)
    if repeated:
        more = ", ..." if len(repeated) > 5 else ""
        log.warning("%d repeated tile(s) taken once: %s%s", len(repeated), ", ".join(repeated[:5]), more)
    return list(found.values())


def find(survey: Survey, name: str, root: str | Path = ".") -> Tile:
    """The tile of an id, with the files of it that lie under ``root``; a ``problem`` where there are none."""
    return _Finder(survey, root).by_id(name)


class _Finder:
    def __init__(self, survey: Survey, root: str | Path) -> None:
        self._survey = survey
        self._far = [str(root)] if remote.is_url(str(root)) else []
        self._root = Path() if self._far else Path(root)
        self._near = [] if self._far else [self._root]
        self._folders = Folders(survey)

    def tiles(self, line: Line) -> Iterable[Tile]:
        """The tiles of one line: one, or those of a glob; a tile with a problem if it stands for none."""
        if line.complaint:
            return [_refused(line, line.complaint)]
        if self._survey.read_id(line.text) is not None:
            return [self.by_id(line.text)]
        if remote.is_url(line.text):
            return [self._by_url(line.text) or _refused(line, f"is no file of {self._survey.name}")]
        if any(character in line.text for character in "*?["):
            tiles = [tile for path in self._glob(line.text) if (tile := self._by_path(path))]
            return _each_once(tiles) or [_refused(line, "matches no file of this survey")]
        tile = self._by_path(self._resolve(Path(line.text)))
        return [tile or _refused(line, f"is neither a tile nor a file of {self._survey.name}")]

    def by_id(self, text: str) -> Tile:
        values = self._survey.read_id(text)
        if values is None:
            return _unnamed(text, self._survey)
        return self._tile(values, {}, self._near)

    def _by_path(self, path: Path) -> Tile | None:
        """The tile of one band's file, with its siblings: beside it, in the layout it lies in, and under the root."""
        read = self._survey.read_file_name(path.name)
        if read is None or not str(path).isprintable():
            return None
        band, values = read
        return self._tile(values, {band: path}, [*self._folders.bases(path, band, values), *self._near])

    def _by_url(self, url: str) -> Tile | None:
        """The tile of one band's URL; where its siblings may be follows from it and from the root."""
        read = self._survey.read_file_name(remote.file_name(url))
        if read is None:
            return None
        band, values = read
        return self._tile(values, {}, self._near, {band: url}, remote.folders_of(url, band, values, self._folders))

    def _tile(
        self,
        values: templates.Fields,
        given: Mapping[str, Path],
        bases: Iterable[Path],
        urls: Mapping[str, str] = MappingProxyType({}),
        far: Sequence[str] = (),
    ) -> Tile:
        name = templates.fill(self._survey.tile, values)
        if not _SAFE_NAME.fullmatch(name):
            return _unnamed(name, self._survey)
        if self._survey.grid == "unions":
            try:
                x, y = grid.split(name)
            except ScannerError as problem:
                return Tile(name, problem=problem)
            values = {"x": x, "y": y}
            name = templates.fill(self._survey.tile, values)
        files = {**self._folders.files(values, bases), **given}
        files = {band: path for band, path in files.items() if band not in urls}
        elsewhere = self._elsewhere(values, files, urls, far)
        there = files or elsewhere
        return Tile(name, files, _lost(given) or (None if there else self._nothing(name, values)), elsewhere)

    def _elsewhere(
        self, values: templates.Fields, files: Mapping[str, Path], urls: Mapping[str, str], far: Sequence[str]
    ) -> Remote | None:
        """Where the bands without a file here may be."""
        missing = [band for band in self._survey.band_names if band not in files and band not in urls]
        guessed = remote.guessed(self._survey, missing, values, [*far, *self._far], self._folders)
        named = {band: (url,) for band, url in urls.items()}
        return Remote({**guessed, **named}, frozenset(named)) if guessed or named else None

    def _nothing(self, name: str, values: templates.Fields) -> ScannerError:
        first = templates.fill(self._survey.bands[0].files[0], values)
        hint = f"Looked under {self._root} for names such as {first}; give --root where the files are."
        return ScannerError(ErrorCode.TILE_MISSING_FILE, f"No file of tile {name} was found.", hint)

    def _glob(self, pattern: str) -> list[Path]:
        """Paths that match, from the working folder or else the root, sorted."""
        wanted = Path(pattern)
        inner = str(wanted.relative_to(wanted.anchor))
        for base in [Path(wanted.anchor)] if wanted.is_absolute() else [Path(), self._root]:
            try:
                if paths := sorted(base.glob(inner)):
                    return paths
            except (ValueError, NotImplementedError, OSError):
                return []
        return []

    def _resolve(self, path: Path) -> Path:
        """A path as it is, or under the root where it is not in the working folder."""
        return path if _is_file(path) else self._root / path


def _merged(first: Tile | None, second: Tile) -> Tile:
    """One tile asked for twice: the first line's files win, the second adds bands."""
    if first is None:
        return second
    return Tile(
        first.name,
        {**second.files, **first.files},
        first.problem or second.problem,
        remote.merged(first.remote, second.remote),
    )


def _named(tile: Tile) -> set[tuple[str, str]]:
    """Band and place of every file that is known of a tile."""
    here = {(band, str(path)) for band, path in tile.files.items()}
    return here | (tile.remote.named if tile.remote else set())


def _each_once(tiles: Iterable[Tile]) -> list[Tile]:
    once: dict[str, Tile] = {}
    for tile in tiles:
        once[tile.name] = _merged(once.get(tile.name), tile)
    return list(once.values())


def _lost(given: Mapping[str, Path]) -> ScannerError | None:
    for path in given.values():
        if not _is_file(path):
            return ScannerError(
                ErrorCode.TILE_MISSING_FILE, f"There is no file {path}.", "Check the path, or give --root."
            )
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for the file system, or with a null in it
        return False


def _refused(line: Line, complaint: str) -> Tile:
    shown = line.text if len(line.text) <= 100 else line.text[:100] + "..."
    hint = "A line is a tile (217.292), the path of one of its files, or a glob; # starts a comment."
    problem = ScannerError(ErrorCode.LIST_BAD_LINE, f"Line {line.number}, {shown!r}, {complaint}.", hint)
    return Tile(f"line-{line.number}", problem=problem)


def _unnamed(text: str, survey: Survey) -> Tile:
    hint = f"Its tiles are named {survey.tile}; {', '.join(survey.ids)} are understood too."
    safe = re.sub("[^A-Za-z0-9._,+-]", "-", text).strip(".-")[:64] or "unnamed"
    return Tile(safe, problem=ScannerError(ErrorCode.TILE_BAD_NAME, f"{text!r} is no tile of {survey.name}.", hint))
