"""A hunt: a project's folder with cutouts of candidates, the scheme of their grades, and the record of all verdicts."""

from __future__ import annotations

from catalogs.render import FORMATS

PARQUET = "parquet"
VERDICT_FORMATS = ("csv", PARQUET, *(name for name in FORMATS if name != "csv"))
"""Formats of an export of verdicts; the first is the default of the command."""
