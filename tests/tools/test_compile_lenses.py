"""The known-lens list can be made again from its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalogs import lenses
from catalogs.errors import ScannerError
from catalogs.lenses import lenscat
from tools import compile_lenses

HEADER = "name,RA [deg],DEC [deg],zlens,type,grading,ref\n"
LOPES = "Lopes et al. (2004) - doi:10.1086/423038"


def compiled(tmp_path: Path, *lines: str) -> list[lenscat.Lens]:
    source = tmp_path / "catalog.csv"
    source.write_text(HEADER + "".join(f"{line}\n" for line in lines))
    return lenscat.merged(lenscat.read(source))


def test_the_shipped_list_is_made_again_byte_for_byte(shipped: Path) -> None:
    source = shipped / "lenscat" / "lenscat_catalog.csv.gz"
    rows = lenscat.merged(lenscat.read(source))
    assert compile_lenses.packed(rows) == lenses.DATA.read_bytes()


@pytest.mark.parametrize(
    ("cell", "zlens"),
    [
        ("0.524467 | 0.5245", 0.524467),
        ("- | 0.3", 0.3),
        ("0.3? | 0.29", 0.29),
        ("0.3?", 0.3),
        ("0.905? measured", 0.905),
        ("not measured", None),
        ("nan", None),
        ("-", None),
        ("0", None),
        ("L", None),
        ("", None),
    ],
)
def test_redshift_cells_are_read(cell: str, zlens: float | None) -> None:
    assert lenscat.redshifts(cell)[1] == zlens


def test_copies_across_catalogues_become_one_that_keeps_what_each_said(tmp_path: Path) -> None:
    entries = compiled(
        tmp_path,
        f"NSCS J1,150.0,40.0,0.4,galaxy,probable,{LOPES}",
        "A,150.0003,40.0001,not measured,galaxy,probable,Huang et al. (2021) - arXiv:2005.04730",
        "B | -,150.0001,40.0002,0.51,group,confident,https://arxiv.org/abs/2312.07333 https://arxiv.org/abs/2005.04730",
        f"NSCS J2,160.0,40.0,0.4,galaxy,probable,{LOPES}",
    )
    assert [lens.kind for lens in entries] == ["group", "cluster-catalogue"]
    one = entries[0]
    assert (one.names, one.grade, one.zlens) == (("B", "A", "NSCS J1"), "confident", 0.51)
    assert one.zlens_all == ("0.51", "0.4")
    assert one.references == ("arXiv:2312.07333", "Huang et al. (2021) - arXiv:2005.04730", LOPES)


def test_lenses_on_both_sides_of_ra_0_are_one(tmp_path: Path) -> None:
    assert len(compiled(tmp_path, "A,359.9999,10,-,galaxy,probable,x", "B,0.0001,10,-,galaxy,probable,y")) == 1


def test_another_table_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "other.csv"
    source.write_text("ra,dec\n1,2\n")
    with pytest.raises(ScannerError) as caught:
        lenscat.read(source)
    assert caught.value.code == "lenses.bad_source"


@pytest.mark.parametrize(
    ("name", "position", "reference", "expected"),
    [
        ("AGEL 010128-334319", (0.365833, -33.722), "arXiv:2205.05307", (15.365833, -33.722)),
        ("AGEL 002527+101107", (6.364167, 0.185306), "arXiv:2205.05307", (6.364167, 10.185306)),
        ("Q0957+561", (0.336667, 55.897056), lenscat.HOURS_LOST[1], (150.336667, 55.897056)),
        ("DESI-010.1+20.2", (0.3658, -33.722), "arXiv:2206.02764", (0.3658, -33.722)),
    ],
)
def test_lost_hours_and_degrees_are_put_back(
    name: str, position: tuple[float, float], reference: str, expected: tuple[float, float]
) -> None:
    assert lenscat.restored(name, *position, reference) == pytest.approx(expected, abs=1e-6)
