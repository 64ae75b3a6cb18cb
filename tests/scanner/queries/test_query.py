"""Questions: names, tables of positions, and which model may answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.coordinates.name_resolve import NameResolveError

import catalogs
from catalogs.errors import ScannerError
from catalogs.search.matching import match_one
from catalogs.sky.geometry import ONE_SYSTEM
from scanner.queries import query
from scanner.queries.query import MIXES, Mix, ask_together
from tests.support.catalogue_rows import RUN, make, write


def test_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is the only thing that is not real here."""
    monkeypatch.setattr(SkyCoord, "from_name", lambda name, parse: SkyCoord(163.554, -57.1, unit="deg"))
    (positions,) = query.collect_positions(None, None, "Cosmic Horseshoe", None)
    assert (positions.ra, positions.dec, positions.name) == (163.554, -57.1, "Cosmic Horseshoe")


def test_an_unknown_name_is_an_error_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str, parse: bool) -> SkyCoord:
        raise NameResolveError(f"unable to find {name}")

    monkeypatch.setattr(SkyCoord, "from_name", unknown)
    with pytest.raises(ScannerError) as raised:
        list(query.collect_positions(None, None, "Nonesuch 7", None))
    assert raised.value.code == "name.unresolved"
    assert "--ra" in raised.value.hint


def test_a_table_of_pixels_is_no_table_of_positions(tmp_path: Path) -> None:
    (tmp_path / "pixels.csv").write_text("x,y\n1,2\n")
    with pytest.raises(ScannerError) as raised:
        list(query.collect_positions(None, None, None, tmp_path / "pixels.csv"))
    assert raised.value.code == "sources.no_positions"


def test_positions_of_a_table_keep_their_row_numbers(tmp_path: Path) -> None:
    (tmp_path / "lenses.csv").write_text("name,RA,DEC\na,10.5,-3.25\nb,11,4\n")
    positions = list(query.collect_positions(None, None, None, tmp_path / "lenses.csv"))
    assert [(one.ra, one.dec, one.name) for one in positions] == [(10.5, -3.25, "1"), (11.0, 4.0, "2")]


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("count", [5, 20, 40])
def test_as_many_rows_as_wanted_come_although_most_of_the_nearest_lie_on_the_examples(
    tmp_path: Path, mix: Mix, count: int
) -> None:
    """A grid has a dozen rows within 3" of an object, which are pieces of it and as like it as rows can be."""
    side, step = 30, 1.4 / 3600
    y, x = (axis.ravel() * step for axis in np.mgrid[:side, :side])
    ra, dec = 210 + x / np.cos(np.radians(54)), 54 + y
    waves = [np.sin(x[:, None] * 600 + np.arange(7)), np.cos(y[:, None] * 600 + np.arange(8))]
    catalogue = catalogs.create(tmp_path / "grid", RUN)
    write(catalogue, "217.290", make(217290, ra, dec, np.hstack([np.full((side * side, 1), 4.0), *waves])))
    snapshot = catalogue.snapshot()
    examples = [match_one(snapshot, object_id=217290000000 + row) for row in (465, 100)]
    rows = ask_together(snapshot, examples, count, mix)
    assert rows["rank"].tolist() == list(range(1, count + 1))
    for example in examples:
        apart = np.hypot((rows["ra"] - example.ra) * np.cos(np.radians(54)), rows["dec"] - example.dec)
        assert apart.min() > ONE_SYSTEM
