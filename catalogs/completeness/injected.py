"""Injected lenses: where they are, what they are, and what a pass over the catalogue makes of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from catalogs.errors import ErrorCode, ScannerError
from catalogs.search import full_pass
from catalogs.search.full_pass import Block
from catalogs.search.tile_pass import Executor
from catalogs.sky import geometry
from catalogs.sky.crossmatch import Places
from catalogs.sky.geometry import ONE_SYSTEM, SAME_OBJECT
from catalogs.store import rows
from catalogs.store.backend import Snapshot
from catalogs.store.schema import HEALPIX, IS_PRIMARY
from catalogs.store.tile_reader import Selection

MOST = 1_000_000
"""Scores of other objects that are kept, the highest."""
_PLACES = {"object_id", "tile", "ra", "dec", "x", "y", HEALPIX}
"""Columns that tell where an object is."""
_NUMBER = re.compile(r"[0-9]+\.[0-9]+")

NO_OBJECT = -1
"""In place of the id of an object, where there is none."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Positions = tuple[Floats, Floats]
"""RA and Dec in degrees, [N] each."""
NOWHERE: Positions = (np.zeros(0), np.zeros(0))
BlockScores = Callable[[Block], NDArray[np.floating]]


@dataclass(frozen=True)
class Injected:
    """P lenses that were painted into tiles: the tile and the position of each, and ``properties`` [P] by name.

    Positions are in degrees. A property that is not known is NaN.
    """

    tile: NDArray[np.str_]
    ra: Floats
    dec: Floats
    properties: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.ra)

    def __getitem__(self, index: NDArray[np.bool_]) -> Injected:
        return Injected(
            self.tile[index], self.ra[index], self.dec[index], {n: v[index] for n, v in self.properties.items()}
        )


@dataclass(frozen=True)
class Search:
    """What a ranking makes of the ``lenses``: scores of these [P], and of all other objects.

    ``detected`` [P] tells which have an object within 1 arcsec in their tile. ``score`` is the highest of such objects,
    -inf without one. ``others`` are the scores of the objects that are not injected, highest first, ``MOST`` at most;
    ``objects`` counts them all, and ``unscored`` those without a score. ``known`` counts the objects of known lenses,
    which are neither. ``area`` is in square degrees. ``elsewhere`` lenses are on no tile of the catalogue, and
    ``on_known`` ones were painted on known lenses, whose own arcs might be found in their place: neither are among the
    ``lenses``. ``object_id`` [P] is that of the object with the highest score, ``NO_OBJECT`` without one, and ``row``
    [P] the number of each lens in the table of all injected ones.
    """

    lenses: Injected
    detected: NDArray[np.bool_]
    score: Floats
    others: Floats
    objects: int
    known: int
    area: float
    elsewhere: int
    on_known: int
    unscored: int = 0
    object_id: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    row: Integers = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def is_truncated(self) -> bool:
        """Whether other objects have scores that are not kept."""
        return len(self.others) < self.objects - self.unscored


_Found = tuple[Integers, Floats, Integers, Floats, int, int, int]
"""Lenses that have an object, with the score and the id of it; the highest scores of others, and the numbers of all
others, of the objects of known lenses and of the others without a score."""


@dataclass(frozen=True)
class _Matcher:
    """Looks in a block for ``lenses``, each in the tile of its number in ``tiles``, and for other objects.

    ``painted`` are the places of all injected lenses.
    """

    lenses: Injected
    tiles: NDArray[np.int64]
    painted: Places
    known: Places
    scores: BlockScores

    def __call__(self, block: Block) -> _Found:
        ra, dec, values = block.column("ra"), block.column("dec"), np.asarray(self.scores(block), np.float64)
        values = np.where(np.isnan(values), -np.inf, values)
        own = np.flatnonzero(self.tiles == block.tile)
        lens, row = geometry.pairs_within(self.lenses.ra[own], self.lenses.dec[own], ra, dec, SAME_OBJECT)
        rest = ~self.painted.nearest(ra, dec, ONE_SYSTEM).matched & block.column(IS_PRIMARY)
        known = rest & self.known.nearest(ra, dec, ONE_SYSTEM).matched
        others = values[rest & ~known]
        scored = others[np.isfinite(others)]
        counts = len(others), int(known.sum()), len(others) - len(scored)
        return own[lens], values[row], block.column("object_id")[row], scored, *counts

    def join(self, parts: Sequence[_Found]) -> _Found:
        lens, identity = (np.concatenate([part[i] for part in parts]) for i in (0, 2))
        score, others = (np.concatenate([part[i] for part in parts]) for i in (1, 3))
        objects, known, unscored = (sum(counts) for counts in zip(*(part[4:] for part in parts), strict=True))
        return lens, score, identity, np.sort(others)[::-1][:MOST], objects, known, unscored


def search(
    snapshot: Snapshot,
    injected: Injected,
    scores: BlockScores,
    columns: Sequence[str],
    where: str | None = None,
    executor: Executor | None = None,
    known: Positions = NOWHERE,
) -> Search:
    """Score injected lenses and all other objects that pass the filter, in one pass, which ``executor`` runs.

    A lens is looked for in its own tile, since a copy in an overlapping one may show the sky without it. Others are
    primary objects more than 3 arcsec from any lens, and from the ``known`` lenses at RA and Dec (degrees) that the sky
    had before. A lens that was painted within 3 arcsec of one of these is left out. An object without a score lies
    below all others.

    Raises:
        ScannerError: ``completeness.no_lens``, ``rank.no_ordinary``, ``where.*``.
    """
    selection = rows.selection(snapshot.catalogue, where, None)
    tiles = match_tiles(injected.tile, [footer.tile for footer in snapshot.footers])
    here, sky_before = tiles >= 0, Places(*known)
    on_known = here & sky_before.nearest(injected.ra, injected.dec, ONE_SYSTEM).matched
    painted = Places(injected.ra[here], injected.dec[here])
    row = np.flatnonzero(here & ~on_known)
    lenses, tiles = injected[here & ~on_known], tiles[row]
    if on_known.any() and not len(lenses):
        message = f"All {on_known.sum()} injected lenses on these tiles were painted on known lenses."
        raise ScannerError(ErrorCode.COMPLETENESS_NO_LENS, message, "Inject again: known lenses are no hosts now.")
    if not len(lenses):
        message = f"None of the {len(injected)} injected lenses is on a tile of {snapshot.catalogue.path}."
        hint = "Give the truth of the tiles that were scanned into this catalogue."
        raise ScannerError(ErrorCode.COMPLETENESS_NO_LENS, message, hint)

    look = _Matcher(lenses, tiles, painted, sky_before, scores)
    score, object_id = np.full(len(lenses), -np.inf), np.full(len(lenses), NO_OBJECT)
    nothing = np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64)
    matches = [nothing]
    others, objects, left_out, unscored = np.zeros(0), 0, 0, 0
    for part in full_pass.over(snapshot, selection, look, [*columns, IS_PRIMARY], look.join, executor):
        before = (*nothing, others, objects, left_out, unscored)
        lens, their_scores, ids, others, objects, left_out, unscored = look.join([part, before])
        matches.append((lens, their_scores, ids))
    if not objects:
        message = "There are no objects but the injected lenses."
        raise ScannerError(ErrorCode.RANK_NO_ORDINARY, message, "Loosen --where.")
    area = measure_area(snapshot, selection)
    if not area > 0:
        message = "The objects span no area on the sky, so others cannot be counted a square degree."
        raise ScannerError(ErrorCode.RANK_NO_ORDINARY, message, "Loosen --where, or scan more of the sky.")
    lens, their_scores, ids = (np.concatenate(parts) for parts in zip(*matches, strict=True))
    # The last of several assignments holds: the highest score, and of equal ones the lowest id, whatever the order.
    order = np.lexsort((-ids, their_scores))
    score[lens[order]], object_id[lens[order]] = their_scores[order], ids[order]
    detected = np.isin(np.arange(len(lenses)), lens)
    gone, covered = int((~here).sum()), int(on_known.sum())
    return Search(
        lenses, detected, score, others, objects, left_out, area, gone, covered, unscored, object_id=object_id, row=row
    )


def match_tiles(names: NDArray[np.str_], tiles: Sequence[str]) -> NDArray[np.int64]:
    """Find the number of each name [P] among ``tiles``, -1 for none.

    A table may have kept 110.280 as the number 110.28; one that is the number of two tiles is none.
    """
    numbers = {tile: number for number, tile in enumerate(tiles)}
    several = Counter(map(_number, tiles))
    by_value = {_number(tile): number for number, tile in enumerate(tiles) if several[_number(tile)] == 1}
    return np.array([numbers.get(name, by_value.get(_number(name), -1)) for name in names.tolist()], np.int64)


def _number(name: str) -> str:
    """Return a name of the form digits.digits without the zeros that a number drops, and any other name as it is.

    Other names are no numbers, although Python reads them as such: 1_23 and 12_3, 1e2 and 100.
    """
    return name.strip("0") if _NUMBER.fullmatch(name) else name


def measure_area(snapshot: Snapshot, selection: Selection) -> float:
    """Measure the area in square degrees of the primary objects of all tiles: for each, the rectangle that holds them.

    A filter of positions restricts it, one of other columns does not. Gaps within a tile count as area.
    """
    row_filter = selection.row_filter
    is_local = row_filter is not None and bool(_PLACES & set(row_filter.columns))
    chosen = selection if is_local else Selection()
    area = 0.0
    for footer in snapshot.touching().footers:
        ra, dec = [], []
        for table in rows.tile_groups(snapshot, footer, ["ra", "dec", IS_PRIMARY], chosen):
            primary = table.column(IS_PRIMARY).to_numpy(zero_copy_only=False)
            ra.append(table.column("ra").to_numpy()[primary])
            dec.append(table.column("dec").to_numpy()[primary])
        if sum(map(len, ra)) and footer.circle is not None:
            # Angles about the middle of the tile have no seam at RA 0.
            east = (np.concatenate(ra) - footer.circle.ra + 180) % 360
            sine = np.sin(np.radians(np.concatenate(dec)))
            area += float(np.ptp(east) * np.degrees(np.ptp(sine)))
    return area
