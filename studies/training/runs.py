"""Runs of a study: their configurations, their folders and their stored results, by which a study is resumed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from catalogs.estimate import PairedEstimate
from training.evaluate.results import Results, TaskResult

DIGITS = 5


class StoppedError(Exception):
    """A signal ended the training; the same command resumes it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def merge(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Merge tables of a configuration; later ones replace what earlier ones say."""
    merged: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            merged[key] = merge(merged[key], value) if both else value
    return merged


def folder_name(*parts: object) -> str:
    """Make the name of a folder from the name of a run."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(map(str, parts)).lower()).strip("-")


def store(results: Results) -> dict[str, Any]:
    """Convert results to JSON, with the draws of each estimate, so that they can be compared in pairs later."""
    return {task: {name: _plain(one) for name, one in result.estimates.items()} for task, result in results.items()}


def _plain(one: PairedEstimate) -> dict[str, Any]:
    numbers = {"value": one.value, "low": one.low, "high": one.high, "counts": list(one.counts)}
    return numbers | {"draws": np.round(one.draws, DIGITS).tolist()}


def restore(stored: Mapping[str, Any]) -> Results | None:
    """Read what ``store`` made; None for results of an earlier version, which have no intervals and no counts."""
    if not all(isinstance(one, dict) for result in stored.values() for one in result.values()):
        return None
    return {
        task: TaskResult({name: _estimate(**one) for name, one in result.items()}) for task, result in stored.items()
    }


def _estimate(value: float, low: float, high: float, counts: list[int], draws: list[float]) -> PairedEstimate:
    return PairedEstimate(value, low, high, np.array(draws), counts=tuple(counts))
