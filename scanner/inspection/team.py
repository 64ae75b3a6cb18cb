"""The team of a project: inspectors with name and token, and chairs, who see all grades and give the final ones."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from catalogs.atomic import locked, write_json
from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json, read_record
from catalogs.store.tile_checks import describe_error

FILE = "team.json"
VERSION = 1
# A name is part of an address, and of the name of a column.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Inspector:
    """A person: the name, and the SHA-256 of the token, which is kept nowhere. A ``chair`` is assigned nothing."""

    name: str
    token_sha256: str
    chair: bool = False


@dataclass(frozen=True)
class _Record:
    version: int
    inspectors: tuple[Inspector, ...]


class Team:
    """The people of a project, read from its folder; a project of one person has no team."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        try:
            record = read_record(load_json(self.path), _Record)
            if record.version != VERSION:
                raise ValueError(f"its version is {record.version}, not {VERSION}")
        except FileNotFoundError:
            record = _Record(VERSION, ())
        except (OSError, ValueError) as error:
            message = f"{self.path} cannot be read: {describe_error(error)}."
            raise ScannerError(
                ErrorCode.INSPECT_DAMAGED, message, "Copy it from another copy of the project."
            ) from error
        self.inspectors = record.inspectors

    def __len__(self) -> int:
        return len(self.inspectors)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of those who can be assigned objects, in the order of their invitation."""
        return tuple(one.name for one in self.inspectors if not one.chair)

    def of_token(self, token: str) -> Inspector | None:
        """Find the person who has this token."""
        digest = _digest(token)
        return next((one for one in self.inspectors if hmac.compare_digest(one.token_sha256, digest)), None)

    def named(self, name: str) -> Inspector:
        """Find a person by name.

        Raises:
            ScannerError: ``inspect.bad_inspector``.
        """
        found = next((one for one in self.inspectors if one.name == name), None)
        if found is None:
            hint = f"Inspectors: {', '.join(one.name for one in self.inspectors) or 'none yet'}."
            raise ScannerError(ErrorCode.INSPECT_BAD_INSPECTOR, f"The project has no inspector {name!r}.", hint)
        return found

    def check(self, name: str, token: str) -> Inspector:
        """Find a person by name and token.

        Raises:
            ScannerError: ``inspect.bad_inspector``, ``inspect.bad_token``.
        """
        one = self.named(name)
        if not hmac.compare_digest(one.token_sha256, _digest(token)):
            message = f"This is not the token of {name}."
            hint = "Give the token that scanner inspect invite printed, or ask for another one with --renew."
            raise ScannerError(ErrorCode.INSPECT_BAD_TOKEN, message, hint)
        return one


def invite(folder: Path, name: str, *, chair: bool = False, renew: bool = False) -> str:
    """Add a person to the team of a project and return the token; ``renew`` replaces the token of one who is there.

    Raises:
        ScannerError: ``inspect.bad_inspector``, ``inspect.damaged``, ``output.*``.
    """
    if not _NAME.fullmatch(name):
        message = f"{name!r} cannot be the name of an inspector."
        hint = "Use up to 40 small letters, digits, _ and -, and begin with a letter or a digit."
        raise ScannerError(ErrorCode.INSPECT_BAD_INSPECTOR, message, hint)
    token = secrets.token_urlsafe(24)
    with locked(folder / f".{FILE}.lock", temporary=True):
        team = Team(folder)
        is_there = name in [one.name for one in team.inspectors]
        if is_there and not renew:
            message = f"{name} is in the team already."
            raise ScannerError(ErrorCode.INSPECT_BAD_INSPECTOR, message, "Give --renew to replace a lost token.")
        if is_there:
            digest = _digest(token)
            people = [replace(one, token_sha256=digest) if one.name == name else one for one in team.inspectors]
        else:
            people = [*team.inspectors, Inspector(name, _digest(token), chair)]
        write_json(folder / FILE, {"version": VERSION, "inspectors": [asdict(one) for one in people]})
    return token


def _digest(token: str) -> str:
    # A token is 24 random bytes, so that no slow hash is needed against guesses.
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
