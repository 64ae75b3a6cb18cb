"""Reading a TOML table strictly: every key is wanted, typed and known, and an error names the one that is wrong."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from catalogs.errors import ErrorCode, ScannerError
from scanner.survey import templates

T = TypeVar("T", str, int)


class Table:
    """One table of a survey file. ``source`` and ``path`` ("bands.u") say where in messages."""

    def __init__(self, values: Mapping[str, Any], source: str, path: str = "") -> None:
        self._values = values
        self._source = source
        self._path = path
        self._used: set[str] = set()

    @property
    def keys(self) -> Sequence[str]:
        return list(self._values)

    def has(self, key: str) -> bool:
        return key in self._values

    def check(self, good: bool, key: str, complaint: str) -> None:
        if not good:
            self._fail(key, complaint)

    def finish(self) -> None:
        """Complain about a key that nothing asked for: a misspelt option must not be silently ignored."""
        for key in self._values:
            if key not in self._used:
                near = difflib.get_close_matches(key, self._used, n=1)
                self._fail(key, "is not known" + (f"; is it {near[0]!r}?" if near else ""))

    def table(self, key: str) -> Table:
        return Table(self._take(key, dict, None), self._source, self._where(key))

    def text(self, key: str, default: str | None = None) -> str:
        return str(self._take(key, str, default))

    def flag(self, key: str) -> bool:
        return bool(self._take(key, bool, False))

    def number(self, key: str) -> float:
        value = self._take(key, (int, float), None)
        self.check(not isinstance(value, bool) and math.isfinite(value), key, "must be a number")
        return float(value)

    def texts(self, key: str, default: Sequence[str] | None = None) -> tuple[str, ...]:
        """A list of texts; a single text stands for a list of one."""
        value = self._take(key, (list, str), default)
        values = [value] if isinstance(value, str) else value
        self.check(all(isinstance(text, str) for text in values), key, "must be a list of texts")
        return tuple(values)

    def templates(self, key: str, kinds: Mapping[str, str], default: Sequence[str] | None = None) -> tuple[str, ...]:
        values = self.texts(key, default)
        for template in values:
            try:
                templates.check(template, kinds)
            except ValueError as error:
                self._fail(key, f"has {template!r}: {error}")
        return values

    def hdu(self, key: str) -> tuple[int | str, ...]:
        value = self._take(key, (list, int, str), None)
        values = value if isinstance(value, list) else [value]
        good = all(isinstance(hdu, int | str) and not isinstance(hdu, bool) and hdu not in ("",) for hdu in values)
        self.check(good and bool(values), key, "must be HDUs: numbers from 0, or names")
        self.check(all(isinstance(hdu, str) or hdu >= 0 for hdu in values), key, "must count HDUs from 0")
        return tuple(values)

    def mapping(self, key: str, kind: type[T], default: dict[str, T] | None = None) -> dict[str, T]:
        values = self._take(key, dict, default)
        good = all(isinstance(value, kind) and not isinstance(value, bool) for value in values.values())
        self.check(good, key, f"must be a table of {'texts' if kind is str else 'whole numbers'}")
        return dict(values)

    def _take(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        self._used.add(key)
        if key not in self._values:
            if default is None:
                self._fail(key, "is missing")
            return default
        value = self._values[key]
        self.check(isinstance(value, kind), key, f"has the wrong type ({type(value).__name__})")
        return value

    def _where(self, key: str) -> str:
        return ".".join(filter(None, [self._path, key]))

    def _fail(self, key: str, complaint: str) -> NoReturn:
        raise ScannerError(
            ErrorCode.SURVEY_BAD_FILE,
            f"{self._source}: {self._where(key)} {complaint}.",
            "Compare it with a built-in survey, such as scanner/surveys/unions.toml.",
        )
