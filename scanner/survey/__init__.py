"""Surveys: the names, bands, zero points and grid of a survey file, and the tiles of a list or folder that it names."""

from __future__ import annotations

import warnings
from typing import Any


def __getattr__(name: str) -> Any:
    """Forward the name that was public in version 0.1, for one release."""
    if name == "load":
        warnings.warn("scanner.survey.load is now scanner.load_survey", DeprecationWarning, stacklevel=2)
        from scanner.survey import survey

        return survey.load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
