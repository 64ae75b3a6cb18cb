"""Candidates on their way to a paper: matched with other tables, released with their grades, handed to modellers."""

from __future__ import annotations

DEFAULT_ACRONYM = "UNIONS"
"""What the names of objects begin with."""
