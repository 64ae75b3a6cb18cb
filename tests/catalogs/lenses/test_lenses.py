"""The known-lens list is what it says."""

from __future__ import annotations

import numpy as np
import pytest

from catalogs import lenses
from catalogs.errors import ScannerError
from catalogs.sky import geometry

LOPES = "Lopes et al. (2004) - doi:10.1086/423038"


def test_famous_lenses_are_where_they_are() -> None:
    """Positions from NED: the list must hold the lenses that every reader knows, at the right place."""
    table = lenses.known()
    for name, ra, dec in (
        ("Q0957+561", 150.3368, 55.8971),
        ("PG1115+080", 169.5706, 7.7662),
        ("J1004+4112", 151.1450, 41.2119),
        ("cosmic horseshoe", 177.1381, 19.5009),
    ):
        assert geometry.separation(ra, dec, table["ra"], table["dec"]).min() * 3600 < 10, name


def test_grades_and_kinds_choose_and_clusters_stay_apart() -> None:
    everything = lenses.known()
    assert len(everything) == len(lenses.known("confident")) + len(lenses.known("probable")) == 18_965
    assert set(everything["kind"]) == set(lenses.LENSES)
    apart = lenses.known(kind="cluster-catalogue")
    assert sum("Lopes" in one for one in apart["references"]) > 9_900
    alone = [one for one in everything["references"] if one == LOPES]
    assert alone == []
    assert everything["ra"].unit == "deg"
    assert np.nanmin(everything["zlens"]) > 0


def test_no_lens_is_listed_twice() -> None:
    table = lenses.known()
    assert geometry.close_pairs(table["ra"].value, table["dec"].value, 2.9 / 3600) == []


@pytest.mark.parametrize(
    ("arguments", "code"), [({"grade": "A"}, "lenses.bad_grade"), ({"kind": "x"}, "lenses.bad_kind")]
)
def test_what_is_not_there_is_refused_by_name(arguments: dict[str, str], code: str) -> None:
    with pytest.raises(ScannerError) as caught:
        lenses.known(**arguments)
    assert caught.value.code == code
