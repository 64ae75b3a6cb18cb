"""What the scan is wanted to reach, beside what it reached in this run."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LEAST, MOST = ">=", "<="
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {LEAST: operator.ge, MOST: operator.le}


@dataclass(frozen=True)
class Bar:
    """``name``: a number of the section, names in a mapping joined by dots. ``sign``: the good side of ``limit``."""

    name: str
    sign: str
    limit: float

    def row(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """``met`` is "not measured" where the number is not there: a peer is not installed, no /proc."""
        here: Any = found
        for part in self.name.split("."):
            here = here.get(part) if isinstance(here, Mapping) else None
        met = "not measured" if here is None else "yes" if _HOLDS[self.sign](here, self.limit) else "no"
        return {"bar": self.name, "wanted": f"{self.sign} {self.limit:g}", "here": here, "met": met}


BARS = (
    Bar("efficiency", LEAST, 0.95),
    Bar("efficiency_int8_raw", LEAST, 0.92),
    Bar("efficiency_int8_rice", LEAST, 0.88),
    Bar("vs_plain_loop", LEAST, 1.3),
    Bar("vs_plain_loop_int8", LEAST, 1.3),
    Bar("peer_ratio", LEAST, 1.8),
    Bar("peer_ratio_int8", LEAST, 3.5),
    Bar("fidelity_int8.centred_cosine", LEAST, 0.995),
    Bar("fidelity_int8.neighbour_overlap", LEAST, 0.95),
    Bar("device_busy", LEAST, 0.97),
    Bar("fast_device_busy", LEAST, 0.97),
    Bar("planned_device_busy", LEAST, 0.97),
    Bar("peak_rss_gb", MOST, 5.5),
    Bar("peak_rss_low_gb", MOST, 1.5),
    Bar("twenty_tiles.seconds_last_vs_first", MOST, 1.05),
    Bar("twenty_tiles.memory_last_vs_first", MOST, 1.05),
    Bar("sections_vs_whole", MOST, 1.0),
    Bar("sections_unmatched_brighter_half", MOST, 0.001),
    Bar("sections_duplicates", MOST, 0),
)


def rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a bar."""
    return [bar.row(found) for bar in BARS]
