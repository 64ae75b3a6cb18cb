"""Ranking: objects scored by examples, calibrated, marked and evaluated, and the outliers among them."""

from __future__ import annotations

from typing import Literal, get_args

ExampleMethod = Literal["centroid", "nearest", "probe"]
"""Methods by examples alone."""
Method = Literal[ExampleMethod, "score", "fused"]
BY_EXAMPLES: tuple[ExampleMethod, ...] = get_args(ExampleMethod)
METHODS: tuple[Method, ...] = get_args(Method)
BY_SCORE: tuple[Method, ...] = ("score", "fused")
"""Methods that need the lens score of the catalogue."""
AUTO: Literal["auto"] = "auto"
"""In place of a method: chosen by what the catalogue and the examples allow."""

Next = Literal["best", "uncertain", "explore"]
NEXT: tuple[Next, ...] = get_args(Next)

OutlierMethod = Literal["mahalanobis", "knn"]
OUTLIER_METHODS: tuple[OutlierMethod, ...] = get_args(OutlierMethod)
