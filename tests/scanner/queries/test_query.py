"""Questions: names, tables of positions, and which model may answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from astropy.coordinates import SkyCoord
from astropy.coordinates.name_resolve import NameResolveError

from catalogs.errors import ScannerError
from scanner.queries import query


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
