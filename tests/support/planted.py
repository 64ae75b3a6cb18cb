"""A catalogue with "lenses" in it: objects whose vectors point along one axis, with a little noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from catalogs.catalogue import Catalogue
from catalogs.search.examples import Examples
from catalogs.search.matching import match

EVERY = 20


def plant(catalogue: Catalogue, make_rows: Callable[..., Any], write_tile: Callable[..., None], tiles: int = 4) -> None:
    """Tiles of 200 objects side by side; every twentieth is a lens."""
    rng = np.random.default_rng(3)
    for number in range(tiles):
        embedding = rng.normal(size=(200, catalogue.info.dim))
        embedding[::EVERY] = 6 * np.eye(catalogue.info.dim)[0] + rng.normal(size=(10, catalogue.info.dim))
        ra, dec = 10 + 0.5 * number + rng.uniform(0, 0.5, 200), 30 + rng.uniform(0, 0.5, 200)
        write_tile(catalogue, f"02{number}.240", make_rows(20240 + 1000 * number, ra, dec, embedding))


def is_lens(object_id: Any) -> np.ndarray:
    """Which objects were planted as lenses."""
    return np.asarray(object_id) % 1_000_000 % EVERY == 0


def matched(catalogue: Catalogue, chosen: Callable[[Any], np.ndarray], count: int) -> Examples:
    """The first ``count`` objects whose ids are ``chosen``, as examples."""
    table = catalogue.table(["object_id", "ra", "dec"])
    some = table[chosen(table["object_id"])][:count]
    return match(catalogue.snapshot(), some["ra"].tolist(), some["dec"].tolist())
