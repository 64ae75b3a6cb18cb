"""Provenance: the run that made the rows, what all tiles of a catalogue share, and why a tile failed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from typing import Any

DISTRIBUTION = "unions-scanner"


@dataclass(frozen=True)
class Run:
    """Everything that makes rows: two runs with the same digest give the same rows.

    ``bands`` are the survey's, in the order of the flux columns. ``contract`` is the model's ``scanner.contract``.
    ``settings`` are JSON values (sources, min_snr, resample, precision, ...). ``grid`` names the grid of the tiles.
    """

    survey: str
    bands: tuple[str, ...]
    model: str
    model_sha256: str
    contract: Mapping[str, Any]
    settings: Mapping[str, Any]
    grid: str | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of everything but the model's name: the same file may have another path."""
        facts = {**self._facts(), "contract": dict(self.contract)}
        return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def receipt(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Make what the footer of a tile records about the run that made it."""
        return {**self._facts(), "digest": self.digest, "extra": dict(extra)}

    def _facts(self) -> dict[str, Any]:
        return {
            "survey": self.survey,
            "bands": list(self.bands),
            "model_sha256": self.model_sha256,
            "settings": dict(self.settings),
        }


@dataclass(frozen=True)
class Info:
    """What every tile of a catalogue shares, as stored in ``catalogue.json``.

    ``created`` is UTC in ISO 8601. ``keep`` records how the stored rows were chosen; it is None where all are stored.
    """

    survey: str
    bands: tuple[str, ...]
    model: str
    model_sha256: str
    contract: Mapping[str, Any]
    software: str
    created: str
    grid: str | None = None
    keep: Mapping[str, Any] | None = None

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self.contract["embedding_dim"])

    @classmethod
    def of(cls, run: Run) -> Info:
        """Describe a new catalogue, made now by this software for ``run``."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(
            survey=run.survey,
            bands=tuple(run.bands),
            model=run.model,
            model_sha256=run.model_sha256,
            contract=dict(run.contract),
            software=software(),
            created=created,
            grid=run.grid,
            keep=run.settings.get("keep"),
        )


def software() -> str:
    """Return the name and version of this software."""
    try:
        return f"{DISTRIBUTION} {metadata.version(DISTRIBUTION)}"
    except metadata.PackageNotFoundError:
        return DISTRIBUTION


@dataclass(frozen=True)
class Failure:
    """Why a tile has no rows; ``attempts`` counts how often it failed."""

    tile: str
    code: str
    message: str
    hint: str
    attempts: int
