"""Fakes and duds: objects of known truth, found in a catalogue by position, that test the inspectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from catalogs.completeness.injected import match_tiles
from catalogs.errors import ErrorCode, ScannerError
from catalogs.sky import crossmatch
from catalogs.sky.geometry import SAME_OBJECT
from catalogs.store import rows
from catalogs.store.backend import Snapshot
from scanner.hunt.project import Project
from scanner.hunt.round import Round
from scanner.inspection.eye import PREFIX
from scanner.sources.position_files import read_positions
from scanner.sources.truth_table import TILE, read_properties

if TYPE_CHECKING:
    from astropy.table import Table

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """P objects of known truth: positions in degrees, the tile of each ("": any), and properties [P] by name."""

    ra: Floats
    dec: Floats
    tile: NDArray[np.str_]
    properties: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.ra)

    def draw(self, count: int, seed: int) -> Known:
        """Draw ``count`` of them, in their order; all where there are fewer."""
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        return Known(
            self.ra[chosen], self.dec[chosen], self.tile[chosen], {n: v[chosen] for n, v in self.properties.items()}
        )


def read_known(path: Path, label: str | None = None) -> Known:
    """Read a list: positions, the tile of each and what was painted, where it tells; only rows of a ``label`` if given.

    Raises:
        ScannerError: ``sources.*``; ``sources.no_label`` or ``hunt.bad_list`` where no row is left.
    """
    places = read_positions(path)
    chosen = places.is_number & places.is_on_sky
    if label is not None:
        is_labelled = np.char.strip(read_positions(path, "label").words) == label
        if not is_labelled.any():
            message = f"No row of {path} has the label {label!r}."
            raise ScannerError(ErrorCode.SOURCES_NO_LABEL, message, "Give a label that the table has.")
        chosen &= is_labelled
    if not places.on_sky or not chosen.any():
        message = f"{path} has no position on the sky."
        raise ScannerError(ErrorCode.HUNT_BAD_LIST, message, "Name its columns ra and dec, in degrees.")
    try:
        tile = read_positions(path, TILE).words
    except ScannerError as error:
        # A list of known lenses does not say on which tile they are.
        if error.code != ErrorCode.SOURCES_NO_COLUMN:
            raise
        tile = np.full(len(places.first), "")
    properties = {name: values[chosen] for name, values in read_properties(path).items()}
    return Known(places.first[chosen], places.second[chosen], tile[chosen], properties)


def find_known(snapshot: Snapshot, known: Known) -> tuple[Table, NDArray[np.int64]]:
    """Find the objects of a catalogue within 1 arcsec of a list: their rows, and the places [M] in the list of others.

    Where a list names the tile, only that tile is looked at: a copy in an overlap shows the sky without what was
    painted. Columns that begin with ``truth_`` tell the properties.
    """
    footers = snapshot.footers
    tiles = match_tiles(known.tile, [one.tile for one in footers])
    ids = np.full(len(known), -1, np.int64)
    for number, footer in enumerate(footers):
        wanted = np.flatnonzero(((known.tile == "") | (tiles == number)) & (ids < 0))
        if footer.circle is None or not len(wanted):
            continue
        for table in rows.tile_groups(snapshot, footer, ("object_id", "ra", "dec")):
            here = {name: table.column(name).to_numpy() for name in ("object_id", "ra", "dec")}
            found = crossmatch.nearest(known.ra[wanted], known.dec[wanted], here["ra"], here["dec"], SAME_OBJECT)
            hit = found.matched & (ids[wanted] < 0)
            ids[wanted[hit]] = here["object_id"][found.index[hit]]
    there = np.flatnonzero(ids >= 0)
    listed = rows.of_ids(snapshot, ids[there].tolist())
    # Two entries of a list may be one object, of which there is one row.
    first = {one: place for place, one in reversed(list(zip(there.tolist(), ids[there].tolist(), strict=True)))}
    places = [first[one] for one in listed["object_id"].tolist()]
    for name, values in known.properties.items():
        listed[f"{PREFIX}{name}"] = values[places]
    return listed, np.flatnonzero(ids < 0)


def same_round(project: Project, objects: Table, source: str, truth: str, painted: bool) -> Round | None:
    """Find the round that was made of the same list, to cut on where that was interrupted."""
    for number in project.rounds():
        one = project.round(number)
        about = (one.record.source, one.record.truth, one.record.painted)
        if about == (source, truth, painted) and one.place["object_id"].tolist() == objects["object_id"].tolist():
            return one
    return None
