"""Injected lenses are where the truth says and as bright as painted, in any survey's files; nothing else changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("galsim")
pytest.importorskip("lenstronomy")

from astropy.io import fits
from astropy.table import Table
from click.testing import CliRunner

from catalogs.completeness.injected import match_tiles
from catalogs.errors import ScannerError
from catalogs.sky.crossmatch import Places
from catalogs.sky.geometry import separation
from scanner.images.fits import open_fits
from scanner.images.tile_images import TileImages, open_tile
from scanner.sources.sources import detect
from scanner.sources.truth_table import read_truth
from scanner.survey.survey import load
from scanner.survey.tile_list import find
from tests.support import lens_tiles as made_up
from training.cli.inject import inject_command
from training.inject import injection
from training.inject.light import Light
from training.inject.tile import Choice, Painted, paint_tile
from training.simulate.conditions import GAIN

CHOICE = Choice(density=2.5, seed=3)


def run(root: Path, out: Path, survey: str) -> None:
    (root.parent / "list.txt").write_text(made_up.TILES[survey])
    words = ["--tiles", root.parent / "list.txt", "--root", root, "--out", out, "--survey", survey]
    words += ["--density", CHOICE.density, "--seed", CHOICE.seed]
    done = CliRunner().invoke(inject_command, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output


def read(folder: Path, survey: str) -> TileImages:
    described = load(survey)
    tile = find(described, made_up.TILES[survey], folder)
    return open_tile(described, tile, [band for band in "ugriz" if band in tile.files])


@pytest.fixture(scope="module", params=list(made_up.TILES))
def injected(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Survey, and the folders of a tile and of the same tile with lenses."""
    where = tmp_path_factory.mktemp(request.param)
    root = made_up.write(where / "tiles", request.param)
    run(root, where / "out", request.param)
    return request.param, root, where / "out"


def test_the_completeness_reads_the_truth(injected: tuple[str, Path, Path]) -> None:
    _, _, out = injected
    written = Table.read(out / "truth.ecsv")
    for name in ("truth.ecsv", "truth.csv"):
        truth = read_truth(out / name)
        np.testing.assert_allclose(truth.ra, written["ra"], atol=1e-6)
        assert match_tiles(truth.tile, ["none", written["tile"][0]]).tolist() == [1] * len(written)
        assert list(truth.properties) == ["theta_e", "snr", "host_mag_r", "seeing", "source_mag_r"]
        # The CSV has four decimals.
        np.testing.assert_allclose(truth.properties["theta_e"], written["theta_e"], atol=5e-5)


def test_only_painted_light_is_added(injected: tuple[str, Path, Path]) -> None:
    survey, root, out = injected
    # The scanner verifies the sums in the headers as it reads.
    before, after = read(root, survey), read(out, survey)
    assert after.bands == before.bands
    painted: Painted = paint_tile(before, CHOICE)
    assert len(painted.rows) >= 3
    np.testing.assert_array_equal(np.isnan(after.flux), np.isnan(before.flux))
    for number, band in enumerate(before.bands):
        light = Light(painted.stamps[band], before.flux[number]).rows(0, before.shape[0])
        assert light is not None
        assert light.sum() > 100
        added = np.nan_to_num(after.flux[number].astype(float) - before.flux[number])
        np.testing.assert_array_equal(added[light == 0], 0)
        # Steps of the pixels: of float32 on top of what was there, of whole numbers, or of the quantisation.
        step = {("unions", "i"): 0.1 * 10 ** (0.4 * 1.4)}.get((survey, band), 1.5 * made_up.NOISE / 4)
        step = 0.02 if survey == "hsc" or (survey == "unions" and band != "i") else step
        assert np.abs(added - light).max() <= step
        assert added.sum() == pytest.approx(
            light.sum(), abs=5 * step * np.sqrt((light != 0).sum() / 12) + 1e-3 * light.sum()
        )
        if (variance := before.variance[number]) is not None:
            raised = after.variance[number] - variance
            expected = np.where(np.isfinite(variance), np.maximum(light, 0) / GAIN[band], 0)
            assert np.nansum(raised) == pytest.approx(expected.sum(), rel=0.05)


def test_headers_and_other_planes_stay(injected: tuple[str, Path, Path]) -> None:
    survey, root, out = injected
    truth = Table.read(out / "truth.csv")
    for path in sorted(root.iterdir()):
        with open_fits(path) as before, open_fits(out / path.name) as after:
            assert len(before) == len(after)
            for old, new in zip(before, after, strict=True):
                is_changed = "INJECTED" in new.header
                assert is_changed == (old.header.get("NAXIS", 0) > 0 and old.name != "MASK")
                if is_changed:
                    assert new.header["INJECTED"] == len(truth)
                for card in ("INJECTED", "CHECKSUM", "DATASUM"):
                    new.header.remove(card, ignore_missing=True)
                    old.header.remove(card, ignore_missing=True)
                assert old.header.tostring() == new.header.tostring()
        if survey == "unions":
            with fits.open(out / path.name, checksum=True) as hdus:
                assert all(hdu.verify_checksum() == 1 for hdu in hdus)


def test_the_scanner_finds_the_hosts_of_the_truth(injected: tuple[str, Path, Path]) -> None:
    survey, _, out = injected
    truth, described = Table.read(out / "truth.csv"), Table.read(out / "truth.ecsv")
    sources = detect(read(out, survey))
    for row in truth:
        assert separation(row["ra"], row["dec"], sources.ra, sources.dec).min() * 3600 < 1
    assert described["theta_e"].unit == "arcsec"
    assert len(described) == len(truth)
    apart = separation(truth["ra"][:, None], truth["dec"][:, None], truth["ra"], truth["dec"]) * 3600
    assert (apart + np.eye(len(truth)) * 99).min() >= 15
    assert truth["seeing"] == pytest.approx(made_up.FWHM, abs=0.08)
    assert (out / "list.txt").read_text() == f"{made_up.TILES[survey]}\n"


def test_known_lenses_are_no_hosts(injected: tuple[str, Path, Path], tmp_path: Path) -> None:
    """Their own arcs would be found in place of the painted ones."""
    survey, root, out = injected
    truth = Table.read(out / "truth.csv")
    known = Places(truth["ra"][:3], truth["dec"][:3])
    described = load(survey)
    tiles = [find(described, made_up.TILES[survey], root)]
    other = Table.read(injection.inject(tiles, described, CHOICE, tmp_path / "out", known).with_suffix(".csv"))
    assert len(other)
    assert not known.nearest(other["ra"], other["dec"], 15 / 3600).matched.any()
    with pytest.raises(ScannerError, match="another known_lenses"):
        injection.inject(tiles, described, CHOICE, tmp_path / "out")


def test_an_interrupted_run_resumes_and_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, survey = tmp_path / "tiles", load("unions")
    for name in ("200.292", "201.292"):
        made_up.write(root, "unions", name)
    tiles = [find(survey, name, root) for name in ("200.292", "201.292")]
    reference = injection.inject(tiles, survey, CHOICE, tmp_path / "whole", workers=2)
    out, write_band = tmp_path / "out", injection.write_band

    def killed(band: object, path: Path, *rest: object) -> list[Path]:
        if path.name == "CFIS.201.292.r.fits":
            raise KeyboardInterrupt
        return write_band(band, path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(injection, "write_band", killed)
    with pytest.raises(KeyboardInterrupt):
        injection.inject(tiles, survey, CHOICE, out)
    assert not (out / "truth.csv").exists()
    monkeypatch.undo()
    told: list[str] = []
    injection.inject(tiles, survey, CHOICE, out, tell=told.append)
    assert "finished before" in told[0]
    assert "finished before" not in told[1]
    for path in reference.parent.rglob("*.*"):
        if path.is_file() and path.parent.name != "truth":
            assert path.read_bytes() == (out / path.relative_to(reference.parent)).read_bytes(), path.name


def test_bad_input_is_refused_by_name(tmp_path: Path) -> None:
    root, survey = made_up.write(tmp_path / "tiles", "unions"), load("unions")

    def inject(root: Path, out: Path, choice: Choice = CHOICE) -> Path:
        return injection.inject([find(survey, "200.292", root)], survey, choice, out)

    # The files themselves, and a folder with other files.
    with pytest.raises(ScannerError, match=r"holds files of tile 200.292") as error:
        inject(root, root)
    assert error.value.code == "inject.foreign"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ScannerError, match=r"notes\.txt"):
        inject(root, tmp_path / "other")

    # Pixels that are not linear, in the last band of the tile.
    asinh = tmp_path / "asinh"
    shutil.copytree(root, asinh)
    with fits.open(asinh / "CFIS.200.292.r.fits", mode="update", checksum=True) as hdus:
        hdus[0].header["BSOFTEN"], hdus[0].header["BOFFSET"] = 1.0, 0.0
        hdus[0].data = np.arcsinh(hdus[0].data)
    with pytest.raises(ScannerError, match=r"CFIS.200.292.r.fits") as error:
        inject(asinh, tmp_path / "asinh-out")
    assert error.value.code == "inject.asinh"

    # Other settings in the same folder, and lenses in injected tiles.
    out = tmp_path / "out"
    inject(root, out)
    with pytest.raises(ScannerError, match="another seed"):
        inject(root, out, Choice(density=2.5, seed=4))
    with pytest.raises(ScannerError, match="injected lenses already") as error:
        inject(out, tmp_path / "twice")
    assert error.value.code == "inject.twice"

    # Without stars the seeing must be given.
    blank = tmp_path / "blank"
    shutil.copytree(root, blank)
    for path in blank.iterdir():
        with fits.open(path, mode="update", checksum=True) as hdus:
            image = hdus["IMAGE"] if "IMAGE" in hdus else hdus[0]
            image.data = np.random.default_rng(0).normal(0, 10, image.data.shape).astype(image.data.dtype)
    with pytest.raises(ScannerError, match=r"200\.292 has too few bright stars in band r"):
        inject(blank, tmp_path / "blank-out")
