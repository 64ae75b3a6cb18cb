"""File and tile names as templates: ``CFIS.{x:03d}.{y:03d}.u.fits`` can be filled in and read back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from string import Formatter

Fields = Mapping[str, int | str]
"""The parts of a tile's name: ``{"x": 217, "y": 292}`` or ``{"brick": "1238p245"}``."""

INTEGER = "int"
_INTEGER_SPEC = re.compile("(0[1-9])?d?")
_TEXT_SPEC = re.compile("([.][0-9]{1,2})?")


def check(template: str, kinds: Mapping[str, str]) -> None:
    """Refuse a template with an unknown field, or with more of the format language than a width.

    Raises:
        ValueError: Its message names the field.
    """
    for _, name, spec, conversion in Formatter().parse(template):
        # Text after the last field comes without a field.
        if name is None:
            continue
        if name not in kinds:
            raise ValueError(f"{{{name}}} is not one of {', '.join(sorted(kinds))}")
        # Names are read back by their template, which rules out other formats, such as hexadecimal.
        allowed = _INTEGER_SPEC if kinds[name] == INTEGER else _TEXT_SPEC
        if conversion or not allowed.fullmatch(spec or ""):
            raise ValueError(f"{{{name}}} has a format other than {{{name}}}, {{{name}:03d}} or {{{name}:.3}}")


def fill(template: str, values: Fields) -> str:
    """The template with its fields replaced by values."""
    return template.format_map(values)


def read(template: str, kinds: Mapping[str, str], text: str) -> Fields | None:
    """Fields of ``text`` if all of it has the form of ``template``; widths are not enforced (7 reads as 007)."""
    # A tuple, since the cache of patterns needs a hashable key.
    match = _pattern(template, tuple(kinds.items())).fullmatch(text)
    if match is None:
        return None
    return {name: int(value) if kinds[name] == INTEGER else value for name, value in match.groupdict().items()}


@lru_cache(maxsize=512)
def _pattern(template: str, kinds: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    """A regular expression for ``template``; ``kinds`` gives ``"int"`` or a regular expression for each field."""
    forms = {name: "[0-9]{1,9}" if kind == INTEGER else kind for name, kind in kinds}
    names: set[str] = set()
    parts = []
    for literal, name, _, _ in Formatter().parse(template):
        parts.append(re.escape(literal))
        if name is not None:
            # A field that occurs again must have the same value.
            parts.append(f"(?P={name})" if name in names else f"(?P<{name}>{forms[name]})")
            names.add(name)
    return re.compile("".join(parts))
