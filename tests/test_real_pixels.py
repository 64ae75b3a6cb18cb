"""The real pixels that ship: small, described, made by their script; and what still needs more than they are."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tests.data.make import make

MOST_NOT_SHIPPED = 25


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_they_are_below_five_megabytes_and_the_readme_names_every_folder(shipped: Path) -> None:
    assert sum((shipped / name).stat().st_size for name in files(shipped)) < 5e6
    readme = (shipped / "README.md").read_text()
    folders = {name.split("/")[0] for name in files(shipped) if "/" in name}
    assert {"cutouts", "tile"} <= folders
    assert all(f"\n| `{folder}/` |" in readme for folder in folders)
    assert "Apache License" in (shipped / "LICENSE-Apache-2.0").read_text()


def test_every_cutout_says_where_it_is_from_and_what_was_changed(shipped: Path) -> None:
    with (shipped / "cutouts" / "labels.csv").open() as lines:
        labels = {row["file"]: row["label"] for row in csv.DictReader(lines)}
    assert set(labels) == {path.name for path in (shipped / "cutouts").glob("*.fz")}
    assert list(labels.values()).count("lens") == 2
    assert {"galaxy", "look_alike", "artefact", "star"} <= set(labels.values())
    for name, label in labels.items():
        header = fits.getheader(shipped / "cutouts" / name)
        assert (header["CLASS"], header["SOURCE"], header["LICENCE"]) == (label, "zooniverse/Lens-Zoo", "Apache-2.0")
        for word in ("invented", "rebuilt", "Changed"):
            assert word in str(header["COMMENT"])


@pytest.mark.shared("the frames that tests/data is made from")
def test_the_script_makes_them_again(shipped: Path, shared_data: Path, tmp_path: Path) -> None:
    """Byte for byte, and compressed images pixel for pixel: rows without data are stored with the time of writing."""
    make(shared_data, tmp_path)
    assert files(tmp_path) == {name for name in files(shipped) if "/" in name}
    for name in files(tmp_path):
        if name.startswith(("cutouts/", "tile/")) and name.endswith(".fz"):
            with fits.open(tmp_path / name) as made, fits.open(shipped / name) as kept:
                assert [repr(hdu.header) for hdu in made] == [repr(hdu.header) for hdu in kept]
                for one, other in zip(made[1:], kept[1:], strict=True):
                    np.testing.assert_array_equal(one.data, other.data)
        else:
            assert (tmp_path / name).read_bytes() == (shipped / name).read_bytes(), name


def test_few_tests_need_what_is_not_shipped_and_each_says_why(request: pytest.FixtureRequest) -> None:
    using = [item for item in request.session.items if "shared_data" in getattr(item, "fixturenames", ())]
    marked = [item for item in request.session.items if item.get_closest_marker("shared")]
    assert using == marked
    assert len(using) <= MOST_NOT_SHIPPED
    assert all(len(marker.args[0]) > 10 for item in marked if (marker := item.get_closest_marker("shared")))
