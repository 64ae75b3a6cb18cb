"""Cutting real fields: nobody sees pixels that are not meant for it, and fluxes stay what they were."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import sep
from astropy.table import Table
from click.testing import CliRunner
from numpy.typing import NDArray

from catalogs.sky.unions_grid import PIXEL_SCALE
from scanner.images.tile_images import TileImages
from training.__main__ import cli
from training.cutouts import production, real_fields
from training.cutouts.cutting import Plate, cut
from training.cutouts.real_fields import Frame
from training.cutouts.selection import Rule, select_rows

HALF_KIDS = 40 * PIXEL_SCALE / 0.339


@pytest.fixture(scope="module")
def frames(shared_data: Path) -> list[Frame]:
    return real_fields.frames(shared_data)


@pytest.fixture(scope="module")
def made(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of the KiDS field (both splits, r alone) and of two CFHTLS frames, with few objects of each image."""
    folder = tmp_path_factory.mktemp("fields")
    tasks = []
    for task in production.field_tasks(shared_data, seed=0):
        if task.source in ("kids_viking", "cfhtls_test", "cfhtls_27"):
            tasks.append(production.FieldTask(task.source, task.split, few(task.frames), 0))
    production.produce(folder, tasks, seed=0)
    return folder


def few(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    return tuple(replace(frame, most=60, files=some(frame)) for frame in frames)


def some(frame: Frame) -> dict[str, Path]:
    return {band: path for band, path in frame.files.items() if frame.source != "kids_viking" or band == "r"}


@pytest.fixture(scope="module")
def kids(frames: list[Frame]) -> Frame:
    """The part of the KiDS field that models are validated with, in two bands."""
    frame = next(frame for frame in frames if frame.source == "kids_viking" and frame.split == "validate")
    return replace(frame, files={band: frame.files[band] for band in "gr"}, most=80)


@pytest.fixture(scope="module")
def kids_images(kids: Frame) -> TileImages:
    return real_fields.read(kids)


def column(path: Path, name: str) -> NDArray[np.float64]:
    return np.array(pq.read_table(path)[name])


@pytest.mark.shared("the split of a KiDS field of 2600 px by columns")
def test_no_window_of_one_split_reaches_into_the_other(made: Path) -> None:
    train, validate = (
        column(made / "kids_viking-train.parquet", "x"),
        column(made / "kids_viking-validate.parquet", "x"),
    )
    assert len(train) > 50
    assert len(validate) > 50
    assert train.max() + HALF_KIDS < 1820 <= validate.min() - HALF_KIDS
    assert train.min() - HALF_KIDS >= 0
    assert validate.max() + HALF_KIDS < 2600


@pytest.mark.shared("the split of a KiDS field of 2600 px by columns")
def test_pixels_of_the_other_split_are_never_read(frames: list[Frame], kids_images: TileImages) -> None:
    widths = {frame.split: frame.columns for frame in frames if frame.source == "kids_viking"}
    assert widths == {"train": (0, 1820), "validate": (1820, 2600)}
    assert kids_images.flux.shape == (5, 2600, 780)


@pytest.mark.shared("the labels of all 36 frames of the guide")
def test_no_frame_with_a_lens_is_used(shared_data: Path, frames: list[Frame]) -> None:
    used = {frame.name for frame in frames if frame.source == "cfhtls_guide"}
    with (shared_data / "cfhtls/guide/labels.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    kinds = Counter(row["label"] for row in rows if row["name"] in used)
    assert set(kinds) == {"artifact", "look_alike"}
    assert len(used) == 23
    shows_a_lens = {row["name"] for row in rows if row["object"]}
    assert "SW_field_440x440" in shows_a_lens
    assert "CFHTLS_001_1555_gri" in shows_a_lens  # a lens at its edge
    assert not used & shows_a_lens


@pytest.mark.shared("every field that training may read")
def test_only_listed_folders_are_read(shared_data: Path, frames: list[Frame]) -> None:
    folders = {path.relative_to(shared_data).parts[:2] for frame in frames for path in frame.files.values()}
    allowed = {"kids_viking_ugriz", "cfhtls_gri", "des_grizY_46_stamps", "sdss_ugriz_M2", "sdss_uriz_2010H", "guide"}
    assert {second for _, second in folders} == allowed
    assert not any("CFHTLS_03" in path.name for frame in frames for path in frame.files.values())


@pytest.mark.shared("the CFHT Legacy Survey fields that training reads, with their place on the sky")
def test_no_window_comes_near_a_known_lens(shared_data: Path, frames: list[Frame], made: Path) -> None:
    """Every lens whose place on the sky is known, against every cutout that has one: none within 5 arcsec of it."""
    table = Table.read(shared_data / "catalogs/lenscat_catalog.csv.gz", format="ascii.csv")
    with (shared_data / "cfhtls/known_dev/labels.csv").open(newline="") as lines:
        published = [(float(row["ra"]), float(row["dec"])) for row in csv.DictReader(lines) if row["ra"]]
    lenses = np.concatenate([np.array(published), np.stack([table["RA [deg]"], table["DEC [deg]"]], axis=1)])
    count = 0
    for path in made.glob("cfhtls*.parquet"):
        ra, dec = column(path, "ra"), column(path, "dec")
        count += len(ra)
        for lens_ra, lens_dec in lenses[np.abs(lenses[:, 1] - dec.mean()) < 0.1]:
            dx, dy = (ra - lens_ra) * np.cos(np.radians(dec)) * 3600, (dec - lens_dec) * 3600
            assert (np.maximum(np.abs(dx), np.abs(dy)) > 40 * PIXEL_SCALE + 5).all()
    assert count > 20


@pytest.mark.shared("bright galaxies of a KiDS field, 0.339 arcsec a pixel")
def test_resampling_keeps_the_flux_of_real_galaxies(kids: Frame, kids_images: TileImages) -> None:
    """KiDS pixels are 1.8 times as wide as the model's: the flux in 2 arcsec of bright galaxies stays, to 1 %."""
    plate = Plate("kids", kids_images, kids.seeing, sky=False, columns=kids.columns, most=kids.most)
    (shard,) = cut(plate, Rule(least=1.0, sky=0), seed=0)
    mag, radius = np.array(shard.table["mag"]), np.array(shard.table["flux_radius"])
    good = np.flatnonzero((mag < 20.5) & (mag > 17) & (radius > 0.6) & (np.array(shard.table["band_fraction"]) == 1))
    assert len(good) >= 5
    x, y = np.array(shard.table["x"])[good] - 1820, np.array(shard.table["y"])[good]
    for band in (1, 2):
        before = sep.sum_circle(np.ascontiguousarray(kids_images.flux[band]), x, y, 2 / 0.339, subpix=11)[0]
        inside = [
            float(sep.sum_circle(image, [39.5], [39.5], 2 / PIXEL_SCALE, subpix=11)[0][0])
            for image in np.ascontiguousarray(shard.pixels[good, band])
        ]
        assert abs(np.median(np.array(inside) / before) - 1) < 0.005
        assert (np.abs(np.array(inside) / before - 1) < 0.01).mean() > 0.9


@pytest.mark.shared("the CFHT Legacy Survey fields that training reads")
def test_absent_bands_are_nan_and_none_is_made_up(made: Path) -> None:
    pixels = np.load(made / "cfhtls_test-train.npy", mmap_mode="r")
    assert np.isnan(pixels[:, [0, 4]]).all()
    assert np.isfinite(pixels[:, 1:4]).mean() > 0.8


def test_extended_galaxies_dominate() -> None:
    """Of a field of mostly faint stars, most of what is cut is extended, and every lens is there."""
    random = np.random.default_rng(1)
    mag, radius = random.uniform(18, 25, 4000), np.where(random.random(4000) < 0.8, 0.4, 0.8)
    lens = random.random(4000) < 0.01
    rows = select_rows(Rule(), mag, radius, 0.7, lens, 0, np.random.default_rng(0))
    assert (radius[rows] < 0.45).mean() < 0.2
    assert set(np.flatnonzero(lens)) <= set(rows)
    is_row = np.isin(np.arange(4000), rows)
    assert is_row[(radius > 0.5) & (mag < 22)].all()
    assert 0.25 < is_row[(radius > 0.5) & (mag > 24.3)].mean() < 0.45


def test_the_command_asks_for_something_to_cut(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["cutouts", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "--fields" in result.output
