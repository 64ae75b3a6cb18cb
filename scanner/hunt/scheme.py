"""The scheme of grades: which words a verdict may be, with their keys and what they mean, from a TOML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_toml, read_record

DEFAULT = Path(__file__).parent / "schemes" / "abcx.toml"
MOST = 100
"""Words of a scheme: there are fewer keys to give them by."""
MARKS = ("", "kept", "rejected")
# Keys that the pages use for something else.
RESERVED = {
    "u": "undo",
    "n": "next ungraded",
    "c": "comment",
    "enter": "next page",
    "?": "help",
    "t": "stretch",
    "b": "bands",
    "v": "residual",
}


@dataclass(frozen=True)
class Grade:
    """One grade: its ``key``, its ``value`` in a mean, the ``mark`` it is to ``rank --feedback``, and its meaning.

    ``rest`` is the triage of everything on a page that was not marked. ``picture`` lies beside the file of the scheme.
    """

    name: str
    key: str
    meaning: str = ""
    value: float | None = None
    mark: str = ""
    rest: bool = False
    picture: str = ""


@dataclass(frozen=True)
class FalsePositive:
    """A kind of false positive: its key, and the grade that it goes with."""

    name: str
    key: str
    grade: str


@dataclass(frozen=True)
class Scheme:
    """The words of verdicts: ``triage`` in the mosaic, ``grades`` one by one, ``classes`` of false positives."""

    name: str
    triage: tuple[Grade, ...]
    grades: tuple[Grade, ...]
    classes: tuple[FalsePositive, ...] = ()
    rubric: str = ""

    @property
    def rest(self) -> Grade:
        """The triage of what was not marked."""
        return next(one for one in self.triage if one.rest)

    def mark(self, grade: str) -> str:
        """The mark that a grade is to ``rank --feedback``: kept, rejected, or nothing."""
        return next((one.mark for one in (*self.triage, *self.grades) if one.name == grade), "")

    def stage(self, grade: str) -> str:
        """Whether a word is of the ``triage`` or one of the ``grades``; "" for neither."""
        for stage, words in (("triage", self.triage), ("grades", self.grades)):
            if any(one.name == grade for one in words):
                return stage
        return ""


def read_scheme(path: Path) -> Scheme:
    """Read a scheme.

    Raises:
        ScannerError: ``hunt.bad_scheme``, which names the wrong key.
    """
    try:
        scheme = read_record(load_toml(path), Scheme)
        _check(scheme)
    except (OSError, ValueError) as error:
        hint = f"Copy the scheme that comes with the package, {DEFAULT.name}, and change its words."
        raise ScannerError(ErrorCode.HUNT_BAD_SCHEME, f"{path} is not a scheme of grades: {error}.", hint) from error
    return scheme


def _check(scheme: Scheme) -> None:
    words = [*scheme.triage, *scheme.grades]
    if len(words) + len(scheme.classes) > MOST:
        raise ValueError(f"it has {len(words)} grades and {len(scheme.classes)} classes, which are more than {MOST}")
    names = [one.name for one in words]
    if not scheme.grades or not scheme.triage:
        raise ValueError("it needs grades and a triage")
    if len(set(names)) < len(names) or not all(names):
        raise ValueError(f"each name must be given once, of {', '.join(names)}")
    if sum(one.rest for one in scheme.triage) != 1 or any(one.rest for one in scheme.grades):
        raise ValueError("one word of the triage must have rest = true")
    for one in words:
        if one.mark not in MARKS:
            raise ValueError(f"the mark of {one.name} must be kept, rejected or nothing, not {one.mark!r}")
        if one.picture and (Path(one.picture).name != one.picture or one.picture.startswith(".")):
            raise ValueError(f"the picture of {one.name} must lie beside the scheme, not at {one.picture!r}")
    for kind in scheme.classes:
        if kind.grade not in [one.name for one in scheme.grades]:
            raise ValueError(f"the class {kind.name} goes with {kind.grade!r}, which is not a grade")
    # The mosaic and one by one are different pages, so a key may serve both.
    one_by_one = [*(one.key for one in scheme.grades), *(one.key for one in scheme.classes)]
    for keys in ([one.key for one in scheme.triage], one_by_one):
        wrong = [key for key in keys if len(key) != 1 or key in RESERVED or keys.count(key) > 1]
        if wrong:
            raise ValueError(f"the key {wrong[0]!r} is not one free letter, or is given twice")
