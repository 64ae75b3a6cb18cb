"""URLs of the files of a tile on other machines: which are accepted, and what they are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from catalogs.errors import ErrorCode, ScannerError
from scanner.survey import templates
from scanner.survey.layout import Layout
from scanner.survey.survey import Survey

VOSPACE = ("vos", "arc")
HTTP = ("http", "https")
SCHEMES = (*HTTP, "s3", "gs", "gcs", "abfs", "abfss", "az", "memory", *VOSPACE)
"""The schemes that are fetched. fsspec knows others, which open files, run commands or read a chain of URLs."""

_WORD = "[A-Za-z][A-Za-z0-9+.-]"
# A colon suffices after the schemes of VOSpace; others need ``://``, so that a path with a colon stays a path. A chain
# of fsspec (``zip::https://...``) is recognised, in order to be refused as one.
_URL = re.compile(f"(?:(?:{_WORD}*::)*{_WORD}+://|(?:{'|'.join(VOSPACE)}):)(?=.)")
_FILE = re.compile("file://(?:localhost)?(?=/)", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/\s]*@")
_QUERY = re.compile(r"(://[^\s?'\"]+)\?[^\s'\"]+")


@dataclass(frozen=True)
class Remote:
    """For each band, URLs where its file may be, in order of preference; the bands ``given`` were named by the user.

    A file that does not exist is a missing band, unless the user named it.
    """

    candidates: Mapping[str, tuple[str, ...]]
    given: frozenset[str] = frozenset()

    @property
    def named(self) -> set[tuple[str, str]]:
        """Band and URL of each file that the user named."""
        return {(band, self.candidates[band][0]) for band in self.given}


def is_url(text: str) -> bool:
    """Whether ``text`` is a URL rather than a path."""
    return _URL.match(text) is not None


def local(text: str) -> str:
    """The path that a ``file:`` URL of this machine stands for; any other text as it is."""
    start = _FILE.match(text)
    return unquote(text[start.end() :]) if start else text


def scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def check(url: str) -> None:
    """Raise ``remote.unknown_scheme`` or ``remote.bad_url`` for what is not fetched, whatever the server."""
    hint = f"Give a path, or a URL of one of {', '.join(SCHEMES)}."
    if scheme(url) not in SCHEMES:
        raise ScannerError(ErrorCode.REMOTE_UNKNOWN_SCHEME, f"URLs of {scheme(url)!r} are not fetched.", hint)
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (raises if it is not a number)
        if scheme(url) in HTTP and not parts.hostname:
            raise ValueError("it has no host")
        # fsspec would read the rest as another URL. In a host, :: is part of an address.
        if "::" in url.replace(parts.netloc, ""):
            raise ValueError("it holds ::, a chain of URLs")
    except ValueError as error:
        raise ScannerError(ErrorCode.REMOTE_BAD_URL, f"{redact(url)} is not a URL: {error}.", hint) from error


def redact(text: str) -> str:
    """``text`` whose URLs have no user, password or query, which may be credentials: for messages and reports."""
    return _QUERY.sub(r"\1?...", _USER.sub("", text))


def file_name(url: str) -> str:
    """The name of the file at a URL, without the query that a signed URL adds to it."""
    # In other schemes a ? may be part of the file's name.
    path = urlsplit(url).path if scheme(url) in HTTP else url
    return unquote(path).rpartition("/")[2]


def sibling(url: str, name: str) -> str:
    """The URL of another file beside ``url``."""
    return f"{url.rpartition('/')[0]}/{name}"


def folders_of(url: str, band: str, values: templates.Fields, layout: Layout) -> list[str]:
    """URLs of the folders from which a layout of the survey leads to ``url``.

    There are none for a signed URL: its signature opens that file alone.
    """
    if "?" in url:
        return []
    start = _URL.match(url)
    prefix = start[0] if start else ""
    # A path would merge the slashes after the scheme, so the scheme is set aside.
    path = PurePosixPath(url.removeprefix(prefix))
    return [f"{prefix}{base}" for base in layout.bases(path, band, values)]


def guess(
    survey: Survey, bands: Iterable[str], values: templates.Fields, bases: Iterable[str], layout: Layout
) -> dict[str, tuple[str, ...]]:
    """For each of ``bands``, every URL under ``bases`` that the survey's names and layouts allow."""
    bases = list(dict.fromkeys(base.rstrip("/") for base in bases))
    if not bases:
        return {}
    places = {band: list(layout.places(survey.band(band), values)) for band in bands}
    return {band: tuple(f"{base}/{place}" for base in bases for place in inner) for band, inner in places.items()}


def merge(first: Remote | None, second: Remote | None) -> Remote | None:
    """What two lines say of one tile: a named file wins over a guess, then the first line over the second."""
    if first is None or second is None:
        return first or second
    # A file that only the second line names replaces a guess of the first.
    added = {band: second.candidates[band] for band in second.given - first.given}
    return Remote({**second.candidates, **first.candidates, **added}, first.given | second.given)
