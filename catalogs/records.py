"""Records: dataclasses read strictly from the values of a TOML or JSON file.

A misspelt key must not be ignored and a text must not pass for a number. So every key is known and typed, and the
message names the one that is wrong. The text itself is read here too, because a damaged file may hold anything.
"""

from __future__ import annotations

import difflib
import json
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

Record = TypeVar("Record")

_DEPTH = 32
"""Levels of tables and lists in a file; ours have at most six."""
_KINDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


def load_json(source: Path | str | bytes) -> Any:
    """Parse JSON: a text, or the content of a file.

    Raises:
        ValueError: It is not JSON in UTF-8, is nested too deeply, or the file is a pipe or a device.
        OSError: The file cannot be read.
    """
    return _parse(json.loads, read_text(source))


def load_toml(source: Path | str | bytes) -> dict[str, Any]:
    """Parse TOML: a text, or the content of a file.

    Raises:
        ValueError: It is not TOML in UTF-8, is nested too deeply, or the file is a pipe or a device.
        OSError: The file cannot be read.
    """
    import tomllib

    values: dict[str, Any] = _parse(tomllib.loads, read_text(source))
    return values


def read_text(source: Path | str | bytes) -> str:
    """Read the text of a file of settings. Raises ``ValueError`` for a pipe or a device, and ``OSError``."""
    if isinstance(source, Path):
        # A pipe would be waited for without an end, and a device may have no end.
        if not stat.S_ISREG(source.stat().st_mode) and not source.is_dir():
            raise ValueError("it is not a regular file")
        source = source.read_bytes()
    # The encoding drops the byte-order mark that some editors write.
    return source.decode("utf-8-sig") if isinstance(source, bytes) else source


def _parse(parse: Callable[[str], Any], text: str) -> Any:
    try:
        values = parse(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    # What the parser has just managed would exceed the limit of recursion later, so the depth is bounded well below.
    level = [values]
    for _ in range(_DEPTH):
        outer = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [inner for one in outer for inner in one]
        if not level:
            return values
    raise ValueError("it is nested too deeply")


def read_record(values: Any, kind: type[Record]) -> Record:
    """Make a ``kind``, a dataclass, of parsed TOML or JSON; nested dataclasses, tuples and mappings follow their types.

    Raises:
        ValueError: A key is missing, unknown or of the wrong type. The message starts with the path of the key, such
            as ``bands.u.zero_point must be a number, not 'x'``.
    """
    import cattrs

    try:
        record: Record = _converter().structure(values, kind)
        return record
    except cattrs.BaseValidationError as error:
        # The first problem is enough: people mend one key at a time.
        problem, path = cattrs.transform_error(error, path="", format_exception=_explain)[0].rsplit(" @ ", 1)
        path = re.sub(r"\['([^']*)'\]", r".\1", path).removeprefix(".")
        raise ValueError(f"{path} {problem}" if path else problem) from error
    except TypeError as error:  # not even a table
        raise ValueError(str(error)) from error


@cache
def _converter() -> Any:
    """The converter of cattrs, without its readiness to turn ``"5"`` into 5 and a text into a list of letters."""
    import cattrs
    from cattrs.gen import make_dict_structure_fn, make_mapping_structure_fn
    from cattrs.strategies import configure_union_passthrough

    converter: Any = cattrs.Converter(forbid_extra_keys=True)
    for kind in _KINDS:
        converter.register_structure_hook(kind, _exact(kind))
    # A field of several types, such as ``float | None``, takes a value of one of them as it is.
    configure_union_passthrough(str | bool | int | float | None, converter)

    def of_type(accepted: Any, name: str, inner: Any) -> Any:
        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, accepted):
                raise TypeError(f"must be {name}, not {value!r}")
            return inner(value)

        return structure

    def tuples(kind: Any) -> Any:
        # The items are structured as a list, since the hook of the tuple would call itself.
        items: Any = list.__class_getitem__(get_args(kind)[0])
        return of_type((list, tuple), "a list", lambda value: tuple(converter.structure(list(value), items)))

    def mappings(kind: Any) -> Any:
        inner: Any = make_mapping_structure_fn(kind, converter)
        return of_type(Mapping, "a table", lambda value: inner(value, kind))

    def dataclasses(kind: Any) -> Any:
        inner = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)
        return of_type(Mapping, "a table", lambda value: inner(value, kind))

    converter.register_structure_hook_factory(_is_tuple, tuples)
    converter.register_structure_hook_factory(_is_mapping, mappings)
    converter.register_structure_hook_factory(is_dataclass, dataclasses)
    return converter


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[1:] == (...,)


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) in (dict, Mapping)


def _exact(kind: type) -> Any:
    # bool is a subclass of int, but `true` is no number; a whole number may stand for a float.
    accepted = (int, float) if kind is float else (kind,)

    def structure(value: Any, _: Any) -> Any:
        if type(value) not in accepted:
            raise TypeError(f"must be {_KINDS[kind]}, not {value!r}")
        return kind(value)

    return structure


def _explain(error: BaseException, _: Any) -> str:
    """One problem as the end of a sentence whose subject is the path of the key."""
    from cattrs import ForbiddenExtraKeysError

    if isinstance(error, ForbiddenExtraKeysError):
        unknown = min(error.extra_fields)
        known = [field.name for field in fields(error.cl)]
        near = difflib.get_close_matches(unknown, known, n=1)
        return f"has the unknown key {unknown!r}" + (
            f"; is it {near[0]!r}?" if near else f"; known: {', '.join(known)}"
        )
    return "is missing" if isinstance(error, KeyError) else str(error)
