"""Objects found in real tiles: the known ones are among them, with the fluxes that others measured."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy.spatial import cKDTree

from catalogs.store.schema import catalogue_schema
from scanner.images import sections
from scanner.images.sky.wcs import CelestialWCS
from scanner.images.tile_images import TileImages, open_tile
from scanner.sources import DETECTION_VERSION, apertures
from scanner.sources.detect import find_objects
from scanner.sources.sources import Sources, detect, grid
from scanner.survey import survey, tile_list
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile

DEMO = Path(apertures.__file__).parents[1] / "demo"


def rows(path: Path, tile: str) -> list[dict[str, str]]:
    with path.open() as file:
        return [row for row in csv.DictReader(file) if row["tile"] == tile]


def distances(sources: Sources, images: TileImages, wanted: list[dict[str, str]]) -> np.ndarray:
    """Arcsec from each row's position to the nearest source."""
    tree = cKDTree(np.c_[sources.x, sources.y])
    return tree.query([[float(row["x"]), float(row["y"])] for row in wanted])[0] * images.pixel_scale


@pytest.fixture(scope="module")
def found(open_dev: Callable[[str], TileImages]) -> Callable[[str], Sources]:
    known: dict[str, Sources] = {}

    def once(name: str) -> Sources:
        if name not in known:
            known[name] = detect(open_dev(name))
        return known[name]

    return once


@pytest.mark.shared("the share of known lenses that is found: 48 lenses, and 12 in larger frames")
@pytest.mark.parametrize(("tile", "lenses", "total"), [("110.280", 43, 48), ("111.280", 11, 12)])
def test_known_lenses_are_found(
    tile: str,
    lenses: int,
    total: int,
    shared_data: Path,
    open_dev: Callable[[str], TileImages],
    found: Callable[[str], Sources],
) -> None:
    """Within 1 arcsec of an object. The rest are frame centres that lie between the galaxies of a group."""
    truth = [row for row in rows(shared_data / "tiles_dev" / "truth.csv", tile) if "lens" in row["label"]]
    near = distances(found(tile), open_dev(tile), truth)
    assert len(truth) == total
    assert np.count_nonzero(near < 1) >= lenses
    assert near.max() < 5


@pytest.mark.shared("the share of known galaxies that is found: 916 galaxies of two large tiles")
@pytest.mark.parametrize(("tile", "share"), [("110.280", 0.97), ("111.280", 0.99)])
def test_known_galaxies_are_found_with_their_magnitudes(
    tile: str,
    share: float,
    shared_data: Path,
    open_dev: Callable[[str], TileImages],
    found: Callable[[str], Sources],
) -> None:
    """916 galaxies with signal to noise above 10, measured by someone else in a 2 arcsec aperture."""
    galaxies = rows(shared_data / "tiles_dev" / "negatives.csv", tile)
    sources, images = found(tile), open_dev(tile)
    assert np.mean(distances(sources, images, galaxies) < 1) > share
    x, y = (np.array([float(row[axis]) for row in galaxies]) for axis in "xy")
    flux = _aperture(images, x, y, diameter=2.0)
    theirs = np.array([float(row["mag_r_2arcsec"]) for row in galaxies])
    bright = theirs < 23
    assert abs(np.nanmedian(apertures.magnitude(flux)[bright] - theirs[bright])) < 0.05


def _aperture(images: TileImages, x: np.ndarray, y: np.ndarray, diameter: float) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apertures, "DIAMETER", diameter)
        return apertures.measure_band(images, images.detection, x, y).flux


@pytest.fixture(scope="module")
def real_sources(real_images: TileImages) -> Sources:
    return detect(real_images)


def test_the_objects_of_the_shipped_tile_are_found(
    shipped: Path, real_images: TileImages, real_sources: Sources
) -> None:
    """Every lens, look-alike, artefact and star, and the galaxies with the magnitudes of the original frames."""
    with (shipped / "tile" / "truth.csv").open() as file:
        truth = list(csv.DictReader(file))
    known = [row for row in truth if row["label"] != "galaxy"]
    galaxies = [row for row in truth if row["label"] == "galaxy"]
    assert [row["label"] for row in known].count("lens") == 2
    assert distances(real_sources, real_images, known).max() < 1
    assert np.mean(distances(real_sources, real_images, galaxies) < 1) > 0.97
    x, y, theirs = (np.array([float(row[name]) for row in galaxies]) for name in ("x", "y", "mag_r_2arcsec"))
    off = apertures.magnitude(_aperture(real_images, x, y, diameter=2.0)) - theirs
    bright = theirs < 23
    assert bright.sum() >= 50
    assert abs(np.median(off[bright])) < 0.05


def test_the_columns_are_those_of_the_catalogue(real_sources: Sources) -> None:
    table = real_sources.table()
    schema = catalogue_schema("ugriz", 4)
    assert set(table) <= set(schema.names)
    for name, values in table.items():
        assert schema.field(name).type.to_pandas_dtype() == values.dtype.type, name
        assert len(values) == len(real_sources)
    assert np.isnan(table["flux_u"]).all()
    assert np.isfinite(table["flux_r"]).mean() > 0.99


def test_sources_come_sorted_and_always_the_same(real_images: TileImages, real_sources: Sources) -> None:
    assert (np.diff(real_sources.y) >= 0).all()
    again = detect(real_images).table()
    for name, values in real_sources.table().items():
        np.testing.assert_array_equal(values, again[name])


def test_min_snr_only_takes_away(real_images: TileImages, real_sources: Sources) -> None:
    everything, bright = detect(real_images, min_snr=0), detect(real_images, min_snr=20)
    assert everything.columns["snr"].min() > 3
    kept = everything.take(everything.columns["snr"] >= 20)
    np.testing.assert_array_equal(kept.x, bright.x)
    np.testing.assert_array_equal(kept.columns["flux_auto"], bright.columns["flux_auto"])
    assert real_sources.columns["snr"].min() >= 5


@pytest.mark.shared("sections of 700 px against a whole image of 2600 px: a KiDS field")
def test_sections_lose_and_double_nothing_that_counts(
    open_dev: Callable[[str], TileImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sections of 700 px against the whole image, on real pixels: no doubles, bright objects all the same."""
    images = open_dev("112.280")
    found = []
    for side in (3000, 700):
        monkeypatch.setattr(sections, "SECTION", (side, side))
        found.append(find_objects(images))
    whole, parts = found
    assert abs(len(parts) / len(whole) - 1) < 0.02
    pairs = cKDTree(np.c_[parts.x, parts.y]).query_pairs(1.0)
    assert not pairs
    lost = cKDTree(np.c_[parts.x, parts.y]).query(np.c_[whole.x, whole.y])[0] > 1
    assert lost.mean() < 0.005
    assert lost[whole.snr > np.median(whole.snr)].mean() < 0.001


def test_sections_as_large_as_they_are_lose_one_bright_object_in_a_thousand_at_most(
    unions: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quarter of a survey tile, made of the demo's pixels: eight sections against the whole."""
    demo = open_tile(unions, tile_list.find(unions, "217.292", DEMO), ["r"]).flux[0]
    flux = np.tile(demo, -(-np.array([2500, 10_000]) // demo.shape))[:2500, :10_000]
    images = TileImages.of("217.292", ["r"], flux[None], [None], 0.18577)
    parts = find_objects(images)
    monkeypatch.setattr(sections, "SECTION", flux.shape)
    whole = find_objects(images)
    assert not cKDTree(np.c_[parts.x, parts.y]).query_pairs(1.0)
    bright = whole.snr > np.median(whole.snr)
    assert bright.sum() > 2000
    lost = cKDTree(np.c_[parts.x, parts.y]).query(np.c_[whole.x, whole.y][bright])[0] > 1
    assert lost.mean() <= 0.001


def test_rows_do_not_change_without_another_recipe(unions: Survey) -> None:
    """Catalogues must not mix two ways to find objects: where this fails, raise the version and rewrite the file."""
    file = Path(__file__).with_name(f"demo_objects_{DETECTION_VERSION}.csv")
    table = detect(open_tile(unions, tile_list.find(unions, "217.292", DEMO))).table()
    brightest = np.sort(np.argsort(table["snr"])[-60:])
    with file.open() as lines:
        names = next(csv.reader(lines))
        expected = np.loadtxt(lines, delimiter=",")
    np.testing.assert_allclose(np.column_stack([table[name][brightest] for name in names]), expected, rtol=3e-6)


def test_nothing_is_found_in_gaps(real_images: TileImages, real_sources: Sources) -> None:
    pixels = real_images.flux[2, np.rint(real_sources.y).astype(int), np.rint(real_sources.x).astype(int)]
    assert np.isnan(pixels).mean() < 0.005


@pytest.mark.shared("a locus of stars, which takes hundreds of bright objects: a KiDS field of 2600 px")
def test_stars_can_be_cut(found: Callable[[str], Sources]) -> None:
    """In the KiDS tile stars crowd around one half-light radius; galaxies are larger."""
    table = found("112.280").table()
    bright = (table["mag_auto"] > 17.5) & (table["mag_auto"] < 21) & (table["flags"] == 0)
    radius = table["flux_radius"][bright]
    stars = radius < 0.6
    assert stars.sum() > 20
    assert np.std(radius[stars]) < 0.1
    elongation = (table["a"] / table["b"])[bright]
    assert np.median(elongation[stars]) < 1.15 < np.median(elongation[~stars])


def test_a_nearly_empty_brick(shipped: Path) -> None:
    legacy = survey.load("legacysurvey")
    folder = shipped / "legacysurvey"
    images = open_tile(legacy, tile_list.find(legacy, "1238p245", folder))
    sources = detect(images)
    assert 0 < len(sources) < 1000
    assert np.isfinite(sources.columns["flux_z"]).mean() > 0.9
    assert len(grid(images, 32)) < 100


@pytest.mark.shared("noise of HSC-SSP with its variance plane: a patch of HSC-SSP of 1.5 MB")
def test_hsc_with_its_variance(shared_data: Path, tmp_path: Path) -> None:
    hsc = survey.load("hsc")
    path = shared_data / "fields" / "hsc_gri" / "cutout-HSC-R-9071-s18a_wide-181211-014627.fits.gz"
    images = open_tile(hsc, Tile("9071-4,4", {"r": path}))
    sources = detect(images)
    assert len(sources) >= 40
    assert np.isfinite(sources.columns["fluxerr_r"]).all()
    hole = np.array(images.variance[1])
    hole[:, :200] = np.nan
    variance = tuple(hole if band == 1 else None for band in range(5))
    assert detect(replace(images, variance=variance)).x.min() > 195
    spoilt = tmp_path / path.name
    with fits.open(path) as hdus:
        hdus[3].data[:] = np.nan
        hdus.writeto(spoilt)
    unknown = detect(open_tile(hsc, Tile("9071-4,4", {"r": spoilt})))
    assert len(unknown) == len(sources)
    assert np.median(unknown.columns["fluxerr_r"] / sources.columns["fluxerr_r"]) == pytest.approx(1, abs=0.3)


@pytest.fixture
def made(unions: survey.Survey) -> Callable[..., TileImages]:
    """An r image of noise with round galaxies of known flux, and i shifted against it by 0.672 px."""

    def make(x: np.ndarray, y: np.ndarray, flux: float = 5000.0, noise: float = 1.0, side: int = 400) -> TileImages:
        rng = np.random.default_rng(5)
        wcs = CelestialWCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [85.0, 50.0]
        wcs.wcs.cdelt, wcs.wcs.crpix = [-0.18577 / 3600, 0.18577 / 3600], [side / 2, side / 2]
        moved = wcs.deepcopy()
        moved.wcs.crpix = [side / 2 + 0.672, side / 2]
        rows, columns = np.mgrid[:side, :side]
        bands = []
        for shift in (0.0, 0.672):
            image = rng.normal(0, noise, (side, side))
            for right, up in zip(x, y, strict=True):
                square = (columns - right - shift) ** 2 + (rows - up) ** 2
                image += flux * np.exp(-square / 8) / (8 * np.pi)
            bands.append(image)
        flux = np.array(bands, np.float32)
        return TileImages.of("217.292", "ri", flux, (wcs, moved), 0.18577, detection_band="r")

    return make


def test_fluxes_and_errors_are_true(made: Callable[..., TileImages]) -> None:
    """Known sources in known noise: position, flux in both bands, and scatter as large as the error says."""
    x, y = (axis.ravel().astype(float) + 0.3 for axis in np.meshgrid(range(25, 400, 25), range(25, 400, 25)))
    images = made(x[x < 380], y[x < 380])
    sources = detect(images)
    near, _ = cKDTree(np.c_[x, y]).query(np.c_[sources.x, sources.y])
    sources = sources.take(near < 1)
    assert len(sources) > 0.95 * np.sum(x < 380)
    assert np.median(near[near < 1]) < 0.1
    for band in ("r", "i"):
        flux, error = sources.columns[f"flux_{band}"], sources.columns[f"fluxerr_{band}"]
        assert np.median(flux) == pytest.approx(5000, rel=0.01)
        assert np.std((flux - np.median(flux)) / error) == pytest.approx(1, abs=0.25)
    assert np.median(sources.columns["flux_auto"]) == pytest.approx(5000, rel=0.03)
    assert np.median(sources.columns["flux_radius"]) == pytest.approx(2 * 1.1774 * 0.18577, rel=0.05)
    assert np.median(sources.columns["mag_r"]) == pytest.approx(31.4 - 2.5 * np.log10(5000), abs=0.02)


def test_an_aperture_with_a_hole_counts_it_as_the_rest(made: Callable[..., TileImages]) -> None:
    images = made(np.array([200.0]), np.array([200.0]), noise=0.01)
    images.flux[0, :, 201:203] = np.nan
    flux = apertures.measure_band(images, 0, np.array([200.0]), np.array([200.0])).flux[0]
    assert 0.7 * 5000 < flux < 1.1 * 5000
    images.flux[0, 180:220, 180:220] = np.nan
    empty = replace(images)  # its background is measured again
    assert np.isnan(apertures.measure_band(empty, 0, np.array([200.0]), np.array([200.0])).flux[0])


def test_an_image_without_noise_or_objects_is_empty_and_no_error(made: Callable[..., TileImages]) -> None:
    assert len(detect(made(np.zeros(0), np.zeros(0), noise=0.0))) == 0
    few = detect(made(np.zeros(0), np.zeros(0), noise=1.0))
    assert len(few) <= 2


def test_damaged_pixels_without_a_shape_hide_nothing_else(made: Callable[..., TileImages]) -> None:
    """Bytes that went wrong are often numbers near the largest there is: their moments overflow."""
    x, y = np.array([60.0, 150.0, 330.0]), np.array([330.0, 60.0, 340.0])
    images = made(x, y)
    images.flux[0, 200:203, 200:204] = np.array([3e38, -2e38, 1e37, 2e38], np.float32)
    with np.errstate(all="ignore"):
        found = detect(images)
    for name in ("a", "b", "theta"):
        assert np.isfinite(found.columns[name]).all()
    away = np.hypot(found.x - x[:, None], found.y - y[:, None]).min(axis=1)
    assert (away < 0.5).all()


def test_correlated_noise_is_no_crowd(made: Callable[..., TileImages]) -> None:
    """Resampled images have smooth noise, which a threshold on single pixels would take for objects."""
    from scipy.ndimage import gaussian_filter

    images = made(np.zeros(0), np.zeros(0), side=800)
    images.flux[0] = gaussian_filter(images.flux[0], 0.8)
    assert len(detect(images)) < 15


def test_a_grid_covers_what_has_data(real_images: TileImages) -> None:
    sources = grid(real_images, 64)
    rows, columns = real_images.flux.shape[1:]
    assert 0.7 < len(sources) / (rows / 64 * columns / 64) <= 1.03
    assert set(np.unique(np.diff(np.unique(sources.x)))) == {64.0}
    assert np.isfinite(sources.columns["flux_r"]).mean() > 0.95
    assert np.isnan(sources.columns["flux_auto"]).all()
    np.testing.assert_array_equal(np.lexsort((sources.x, sources.y)), np.arange(len(sources)))
    with pytest.raises(ValueError, match="stride"):
        grid(real_images, 0)
