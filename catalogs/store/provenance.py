"""Provenance: the run that made the rows, what all tiles of a catalogue share, and why a tile failed."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from typing import Any

from catalogs.records import read_record
from catalogs.sky import GRIDS
from catalogs.store.scores import Scores

DISTRIBUTION = "unions-scanner"
DEFAULT_RUNTIME = "onnxruntime"
MOST_DIMENSIONS = 65_536
"""Numbers of an embedding; encoders give some hundreds."""
_BAND = re.compile("[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Run:
    """Everything that makes rows: two runs with the same digest give the same rows.

    ``bands`` are the survey's, in the order of the flux columns. ``contract`` is the model's ``scanner.contract``.
    ``settings`` are JSON values (sources, min_snr, resample, precision, runtime if it is not the default, ...).
    ``grid`` names the grid of the tiles.
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
        # Sorted keys and fixed separators give equal runs equal bytes, and so one digest.
        return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def precision(self) -> str:
        """What the embeddings were computed in, such as fp32."""
        return str(self.settings.get("precision", "fp32"))

    @property
    def runtime(self) -> str:
        """The software that computed the embeddings."""
        return str(self.settings.get("runtime", DEFAULT_RUNTIME))

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
class _Contract:
    """What questions read of a contract; its other keys are the encoder's."""

    embedding_dim: int
    bands: tuple[str, ...] = ()
    window: int = 0
    pixel_scale: float = 0.0
    precision: str = ""
    scores: Scores | None = None


@dataclass(frozen=True)
class Info:
    """What every tile of a catalogue shares, as stored in ``catalogue.json``.

    ``created`` is UTC in ISO 8601. ``keep`` records how the stored rows were chosen; it is None where all are stored.
    ``runtime`` and ``precision`` say how the embeddings were computed; catalogues of earlier versions lack them.
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
    runtime: str = DEFAULT_RUNTIME
    precision: str = ""

    def __post_init__(self) -> None:
        if not self.bands or len(set(self.bands)) < len(self.bands) or not all(map(_BAND.fullmatch, self.bands)):
            raise ValueError(f"bands {list(self.bands)!r} are not the different names of bands")
        # Overlaps of tiles are counted once by the rules of their grid.
        if self.grid not in (None, *GRIDS):
            raise ValueError(f"grid {self.grid!r} is none of {', '.join(GRIDS)}")
        known = {field.name: self.contract[field.name] for field in fields(_Contract) if field.name in self.contract}
        try:
            contract = read_record(known, _Contract)
        except ValueError as error:
            raise ValueError(f"contract.{error}") from error
        # Earlier versions computed in the number format of the model file.
        object.__setattr__(self, "precision", self.precision or contract.precision or "fp32")
        if not 1 <= contract.embedding_dim <= MOST_DIMENSIONS:
            raise ValueError(f"contract.embedding_dim must be from 1 to {MOST_DIMENSIONS}")
        if not 0 <= contract.pixel_scale < math.inf:
            raise ValueError(f"contract.pixel_scale must be a number of arcsec, not {contract.pixel_scale}")

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        dim: int = self.contract["embedding_dim"]
        return dim

    @cached_property
    def scores(self) -> Scores | None:
        """Scores of the model, each a column; None where it gives none."""
        values = self.contract.get("scores")
        return None if values is None else read_record(values, Scores)

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
            runtime=run.runtime,
            precision=run.precision,
        )


def software() -> str:
    """Return the name and version of this software."""
    try:
        return f"{DISTRIBUTION} {metadata.version(DISTRIBUTION)}"
    except metadata.PackageNotFoundError:
        # A source tree that is not installed has no version.
        return DISTRIBUTION


@dataclass(frozen=True)
class Failure:
    """Why a tile has no rows; ``attempts`` counts how often it failed."""

    tile: str
    code: str
    message: str
    hint: str
    attempts: int
