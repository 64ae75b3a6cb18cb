"""Known lenses from lists of one's own: a newer lenscat in place of the package's, any other list in front."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from catalogs import lenses
from catalogs.errors import ErrorCode, ScannerError
from scanner.queries.known_lenses import read_known

HEAD = "name,RA [deg],DEC [deg],zlens,type,grading,ref\n"
LENSCAT = (
    HEAD
    + "New lens,10.0,5.0,0.5?,galaxy,confident,Doe et al. (2027)\n"
    + "New lens again,10.0001,5.0001,0.52,galaxy,probable,Roe et al. (2027)\n"
    + "AGEL 013442+043350,8.675,4.564,0.55,galaxy,confident,arXiv:2205.05307\n"
    + "NSCS 1,20.0,5.0,nan,galaxy,probable,Lopes et al. (2004) - doi:10.1086/423038\n"
)


@pytest.mark.parametrize("packed", [False, True])
def test_a_lenscat_takes_the_place_of_the_package_list(tmp_path: Path, packed: bool) -> None:
    """Its traps are handled as when the package's list was made."""
    path = tmp_path / ("catalog.csv.gz" if packed else "catalog.csv")
    path.write_bytes(gzip.compress(LENSCAT.encode()) if packed else LENSCAT.encode())
    known = read_known([path])
    assert known.colnames == lenses.known().colnames
    assert known["name"].tolist() == ["New lens | New lens again", "AGEL 013442+043350"]
    assert known["zlens"].tolist() == [0.5, 0.55]
    # The source lost the hours of this right ascension; the clusters of Lopes et al. are no lenses.
    assert known["ra"].tolist()[1] == pytest.approx(23.675)
    assert str(known["ra"].unit) == "deg"


def test_a_list_of_ones_own_stands_in_front(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("RAJ2000,DEJ2000,Name,z_lens,grade\n150,5,Mine,0.3,A\n150.5,2.5,,,\n")
    known = read_known([path])
    assert len(known) == len(lenses.known()) + 2
    assert known["name"].tolist()[:2] == ["Mine", "mine.csv, row 2"]
    assert known["zlens"][0] == 0.3
    assert np.isnan(known["zlens"][1])
    assert known["references"].tolist()[:2] == ["mine.csv"] * 2
    assert len(lenses.choose(known, grade="confident")) == len(lenses.known("confident"))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ra,dec\n", ErrorCode.LENSES_BAD_LIST),
        ("ra,dec,name\n10,5,a\n,,b\n", ErrorCode.LENSES_BAD_LIST),
        ("ra,dec\n10,95\n", ErrorCode.LENSES_BAD_LIST),
        ("name,z\nx,0.5\n", ErrorCode.SOURCES_NO_POSITIONS),
        (HEAD + "x,10.0,5.0,0.5,ring,confident,Doe\n", ErrorCode.LENSES_BAD_SOURCE),
    ],
)
def test_a_wrong_list_is_refused(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    with pytest.raises(ScannerError) as error:
        read_known([path])
    assert error.value.code == code


def test_two_lenscats_are_refused(tmp_path: Path) -> None:
    for name in ("old.csv", "new.csv"):
        (tmp_path / name).write_text(LENSCAT)
    with pytest.raises(ScannerError) as error:
        read_known([tmp_path / "old.csv", tmp_path / "new.csv"])
    assert error.value.code == ErrorCode.LENSES_BAD_LIST
