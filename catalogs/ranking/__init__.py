"""Ranking: objects scored by examples, calibrated, marked and evaluated, and the outliers among them."""

from __future__ import annotations

from typing import Literal, get_args

Method = Literal["centroid", "nearest", "probe"]
METHODS: tuple[Method, ...] = get_args(Method)
AUTO: Literal["auto"] = "auto"
"""In place of a method: chosen by the number of examples."""

Next = Literal["best", "uncertain", "explore"]
NEXT: tuple[Next, ...] = get_args(Next)

OutlierMethod = Literal["mahalanobis", "knn"]
OUTLIER_METHODS: tuple[OutlierMethod, ...] = get_args(OutlierMethod)
