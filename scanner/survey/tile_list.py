"""Tiles of a list, whose lines are ids, paths of band files, URLs or globs. A bad line is a tile with a problem."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO

from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky import unions_grid
from scanner.survey import templates, urls
from scanner.survey.layout import Layout
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile, refuse_shared_numbers
from scanner.survey.urls import Remote

log = logging.getLogger(__name__)

MAX_LENGTH = 4096
"""Characters of a line."""
_ENDLESS = 1_000_000
"""Bytes of a line, and six times that of lines, beyond which a file is no list; it is not read further."""

# A tile's name becomes the name of its file in the catalogue.
_SAFE_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._,+-]{0,63}")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a list: its number from 1, its text with single spaces, and what is wrong with it."""

    number: int
    text: str
    complaint: str = ""


Lines = Sequence[Line]


def read_lines(source: str | Path) -> Lines:
    """Read the lines of a file, or of standard input for ``-``.

    Raises:
        ScannerError: ``list.missing`` or ``list.unreadable``.
    """
    try:
        if str(source) == "-":
            # The text is UTF-8 whatever the locale, so that the bytes are read.
            return clean(_decoded(sys.stdin.buffer) if hasattr(sys.stdin, "buffer") else sys.stdin or ())
        with Path(source).open("rb") as file:
            return clean(_decoded(file))
    except FileNotFoundError as error:
        raise ScannerError(
            ErrorCode.LIST_MISSING, f"There is no list {str(source)!r}.", "Give a file, or - for standard input."
        ) from error
    except (OSError, ValueError) as error:
        hint = "Give a text file in UTF-8 with one tile a line."
        raise ScannerError(
            ErrorCode.LIST_UNREADABLE, f"The list {str(source)!r} cannot be read: {error}.", hint
        ) from error


def _decoded(file: IO[bytes]) -> Iterator[str]:
    """Lines of a file in UTF-8, without its byte-order mark. Only a line feed ends a line.

    Raises:
        ValueError: The file is not UTF-8, or no list: a device has lines without an end, or lines and no end.
    """
    number = 0
    while line := file.readline(_ENDLESS):
        number += 1
        if len(line) == _ENDLESS or number > 6 * _ENDLESS:
            raise ValueError(f"it is no list: line {number} is too long or one too many")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"line {number} is not UTF-8 ({error.reason})") from error


def clean(lines: Iterable[str]) -> Lines:
    """Drop comments (from # on, at the start or after a space) and blank lines; the other lines keep their numbers."""
    result = []
    for number, raw in enumerate(lines, 1):
        if raw.lstrip().startswith("#"):
            continue
        # A # within a word may be part of a path or a URL.
        text = raw.split(" #")[0].split("\t#")[0].strip(" \t\r\n")
        if text:
            complaint = _complaint(text)
            # Spaces in a path are part of it; the parts of an id may have any number between them.
            text = text[:MAX_LENGTH] if complaint or "/" in text else " ".join(text.split())
            result.append(Line(number, text, complaint))
    return result


def _complaint(text: str) -> str:
    if len(text) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    if not text.isprintable() and not text.replace("\t", " ").isprintable():
        return "holds control characters"
    return ""


def read_list(source: str | Path, survey: Survey, root: str | Path = ".") -> list[Tile]:
    """Read the tiles of a list file (``-``: standard input), in its order, each once.

    Files are looked for under ``root``, and beside those that the list names. Both may be URLs, which are not opened
    yet. A line that does not stand for a tile becomes a tile with a ``problem``.

    Raises:
        ScannerError: ``list.missing``, ``list.unreadable``, ``list.empty``, ``root.unreadable``.
    """
    return parse(read_lines(source), survey, root)


def parse(lines: Lines, survey: Survey, root: str | Path = ".") -> list[Tile]:
    """Tiles of numbered lines (``clean`` makes them); duplicates are merged and logged.

    Raises:
        ScannerError: ``list.empty``, ``root.unreadable``.
    """
    finder = _Finder(survey, root)
    by_name: dict[str, Tile] = {}
    repeated = []
    for line in lines:
        for tile in finder.tiles(line):
            first = by_name.get(tile.name)
            # A line that adds a band to a tile is not a repetition.
            if first and _named_files(tile) <= _named_files(first):
                repeated.append(f"{tile.name} (line {line.number})")
            by_name[tile.name] = _merge(first, tile)
    if not by_name:
        hint = "Give one tile a line: 217.292, the path of one of its files, or a glob."
        raise ScannerError(ErrorCode.LIST_EMPTY, "The list of tiles is empty.", hint)
    if repeated:
        more = ", ..." if len(repeated) > 5 else ""
        log.warning("%d repeated tile(s) taken once: %s%s", len(repeated), ", ".join(repeated[:5]), more)
    return refuse_shared_numbers(by_name.values())


def find(survey: Survey, name: str, root: str | Path = ".") -> Tile:
    """The tile of an id, with its files under ``root``; with a ``problem`` where it has none.

    Raises:
        ScannerError: ``root.unreadable``.
    """
    return _Finder(survey, root).by_id(name)


class _Finder:
    """Finds the tiles that lines stand for, and their files under a root: a folder or a URL."""

    def __init__(self, survey: Survey, root: str | Path) -> None:
        self._survey = survey
        root = urls.local(str(root))
        self._remote_roots = [root] if urls.is_url(root) else []
        for url in self._remote_roots:
            urls.check(url)
        # A remote root cannot be listed; relative paths then start from the working folder alone.
        self._root = Path() if self._remote_roots else Path(root)
        self._local_roots = [] if self._remote_roots else [self._root]
        self._layout = Layout(survey)
        for base in self._local_roots:
            try:
                self._layout.list_folder(str(base))
            except OSError as error:
                raise _unreadable(error) from error

    def tiles(self, line: Line) -> Iterable[Tile]:
        """The tiles of one line: one, or those of a glob; a tile with a problem if it stands for none."""
        if line.complaint:
            return [_refuse(line, line.complaint)]
        if self._survey.read_id(line.text) is not None:
            return [self.by_id(line.text)]
        text = urls.local(line.text)
        if urls.is_url(text):
            try:
                urls.check(text)
            except ScannerError as error:
                return [_refuse(line, f"is refused: {error}", error)]
            return [self._by_url(text) or _refuse(line, f"is not a file of {self._survey.name}")]
        path = Path(text)
        existing = next(filter(_is_file, (path, self._root / path)), None)
        # A path that exists is that file, whatever characters of a glob are in it.
        if existing is None and any(character in text for character in "*?["):
            # A glob may match several bands of a tile, which become one tile.
            once: dict[str, Tile] = {}
            for match in self._glob(path):
                if tile := self._by_path(match):
                    once[tile.name] = _merge(once.get(tile.name), tile)
            return list(once.values()) or [_refuse(line, "matches no file of this survey")]
        tile = self._by_path(existing or self._root / path)
        return [tile or _refuse(line, f"is neither a tile nor a file of {self._survey.name}")]

    def by_id(self, text: str) -> Tile:
        values = self._survey.read_id(text)
        if values is None:
            return _unnamed(text, self._survey)
        return self._tile(values, {}, self._local_roots)

    def _by_path(self, path: Path) -> Tile | None:
        """The tile of one band's file, with its siblings: beside it, in the layout it lies in, and under the root."""
        read = self._survey.read_file_name(path.name)
        if read is None or not str(path).isprintable():
            return None
        band, values = read
        return self._tile(values, {band: path}, [*self._layout.bases(path, band, values), *self._local_roots])

    def _by_url(self, url: str) -> Tile | None:
        """The tile of one band's URL, which together with the root says where its siblings may be."""
        read = self._survey.read_file_name(urls.file_name(url))
        if read is None:
            return None
        band, values = read
        folders = urls.folders_of(url, band, values, self._layout)
        return self._tile(values, {}, self._local_roots, {band: url}, folders)

    def _tile(
        self,
        values: templates.Fields,
        named_paths: Mapping[str, Path],
        bases: Iterable[Path],
        named_urls: Mapping[str, str] = MappingProxyType({}),
        remote_bases: Sequence[str] = (),
    ) -> Tile:
        """The tile of these fields: files that the user named win over those found under the bases."""
        survey = self._survey
        name = templates.fill(survey.tile, values)
        if not _SAFE_NAME.fullmatch(name):
            return _unnamed(name, survey)
        # The grid refuses tiles that do not exist, and gives a tile written in two ways one name.
        if survey.grid == "unions":
            try:
                x, y = unions_grid.split(name)
            except ScannerError as error:
                return Tile(name, problem=error)
            values = {"x": x, "y": y}
            name = templates.fill(survey.tile, values)
        try:
            files = {**self._layout.files(values, bases), **named_paths}
        except OSError as error:
            # Below the root, most tiles have this problem.
            if self._local_roots and Path(error.filename).is_relative_to(self._root):
                raise _unreadable(error) from error
            return Tile(name, problem=_unreadable(error))
        # A URL that the user names wins over a file of this machine.
        files = {band: path for band, path in files.items() if band not in named_urls}

        # Bands without a file here may be on another machine.
        missing = [band for band in survey.band_names if band not in files and band not in named_urls]
        guesses = urls.guess(survey, missing, values, [*remote_bases, *self._remote_roots], self._layout)
        candidates = {**guesses, **{band: (url,) for band, url in named_urls.items()}}
        remote = Remote(candidates, frozenset(named_urls)) if candidates else None

        problem = next((_no_file(path) for path in named_paths.values() if not _is_file(path)), None)
        if problem is None and not files and remote is None:
            first = templates.fill(survey.bands[0].files[0], values)
            hint = f"Give --root where the files are: names such as {first} were looked for under {self._root}."
            problem = ScannerError(ErrorCode.TILE_MISSING_FILE, f"Tile {name} has no file here.", hint)
        return Tile(name, files, problem, remote)

    def _glob(self, pattern: Path) -> list[Path]:
        """Paths that match, from the working folder or else the root, sorted."""
        for start in [Path(pattern.anchor)] if pattern.is_absolute() else [Path(), self._root]:
            base, parts = start, list(pattern.relative_to(pattern.anchor).parts)
            # A folder that exists is that folder. Only the rest of the path is a pattern.
            while len(parts) > 1 and _exists(base / parts[0]):
                base /= parts.pop(0)
            try:
                if paths := sorted(base.glob("/".join(parts))):
                    return paths
            except (ValueError, NotImplementedError, OSError):
                return []
        return []


def _merge(first: Tile | None, second: Tile) -> Tile:
    """One tile from two lines: the first line's files win, the second adds bands."""
    if first is None:
        return second
    return Tile(
        first.name,
        {**second.files, **first.files},
        first.problem or second.problem,
        urls.merge(first.remote, second.remote),
    )


def _named_files(tile: Tile) -> set[tuple[str, str]]:
    """Band and place of every known file of a tile."""
    local = {(band, str(path)) for band, path in tile.files.items()}
    return local | (tile.remote.named if tile.remote else set())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for the file system, or with a null in it
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _no_file(path: Path) -> ScannerError:
    return ScannerError(ErrorCode.TILE_MISSING_FILE, f"There is no file {path}.", "Check the path, or give --root.")


def _unreadable(error: OSError) -> ScannerError:
    message = f"The folder {error.filename} cannot be read ({error.strerror})."
    hint = "Give --root a folder that you may read, and check that its disk is mounted."
    return ScannerError(ErrorCode.ROOT_UNREADABLE, message, hint)


def _refuse(line: Line, complaint: str, error: ScannerError | None = None) -> Tile:
    text = urls.redact(line.text)
    text = text if len(text) <= 100 else text[:100] + "..."
    code = error.code if error else ErrorCode.LIST_BAD_LINE
    hint = (
        error.hint if error else "Give a tile (217.292), the path of one of its files, or a glob; # starts a comment."
    )
    message = f"Line {line.number}, {text!r}, {complaint.rstrip('.')}."
    return Tile(f"line-{line.number}", problem=ScannerError(code, message, hint))


def _unnamed(text: str, survey: Survey) -> Tile:
    """A tile whose name is not one of the survey's, under a name that is safe for a file."""
    safe = re.sub("[^A-Za-z0-9._,+-]", "-", text).strip(".-")[:64] or "unnamed"
    hint = f"Write a tile of {survey.name} as {' or '.join((survey.tile, *survey.ids))}."
    return Tile(safe, problem=ScannerError(ErrorCode.TILE_BAD_NAME, f"{text!r} is not a tile of {survey.name}.", hint))
