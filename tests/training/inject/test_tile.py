"""Where a lens is painted: in the bands that reach its host, as bright and as clear as its truth says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("galsim")
pytest.importorskip("lenstronomy")

from scanner.images.sky.wcs import flat_wcs
from scanner.images.tile_images import TileImages, open_tile
from scanner.sources.sources import Sources
from scanner.survey.survey import load
from scanner.survey.tile_list import find
from tests.support import lens_tiles as made_up
from training.inject import tile
from training.inject.tile import Choice, _bands_around, paint_tile
from training.simulate.canvas import fluxes
from training.simulate.exposure import correlated_noise

SCALE = 0.18577


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("away", [-120.0, 120.0])
def test_a_band_that_does_not_reach_a_host_has_no_data_there(axis: int, away: float) -> None:
    """The second band is shifted by 120 px, a tenth of the side at most: a host near an edge lies off it."""
    shape, side = (1300, 1300), 1300
    shifted = flat_wcs(shape, SCALE)
    shifted.wcs.crpix[axis] += away
    wcs = [flat_wcs(shape, SCALE), shifted]
    images = TileImages.of("made", ("r", "i"), np.zeros((2, *shape), np.float32), wcs, SCALE, detection_band="r")
    place = [650.0, 650.0]
    # Beyond the edge by more than the square around a host, within it, and far from it on the other side.
    for near, bands in ((60.0, {"r"}), (118.0, None), (400.0, {"r", "i"})):
        place[axis] = near if away < 0 else side - 1 - near
        sources = Sources.at(images, np.array(place[:1]), np.array(place[1:]))
        assert sources.pixels[1][axis][0] == pytest.approx(place[axis] + away, abs=0.1)
        assert _bands_around(images, sources, 0) == bands


@pytest.mark.parametrize("kind", ["galaxy", "quasar"])
def test_flux_and_signal_to_noise_are_those_of_the_truth(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a tile whose noise is correlated: the light of each lens, and the scatter of its filter in such noise."""
    monkeypatch.setattr(tile, "PAINTED", replace(tile.PAINTED, quasar_fraction=float(kind == "quasar")))
    survey, name = load("unions"), made_up.TILES["unions"]
    images = open_tile(survey, find(survey, name, made_up.write(tmp_path, "unions")), ["g", "r"])
    # The noise of the tile is white; what is added here makes three quarters of its variance.
    rng, rms = np.random.default_rng(1), made_up.NOISE * 3**0.5
    for band in images.flux:
        band += correlated_noise(rng, band.shape, rms)
    painted = paint_tile(images, Choice(density=2.5, seed=3))
    assert len(painted.rows) >= 3
    assert {row["kind"] for row in painted.rows} == {kind}
    noise = correlated_noise(rng, (2400, 2400), rms) + rng.normal(0, made_up.NOISE, (2400, 2400))
    ratio = []
    for number, row in enumerate(painted.rows):
        stamps = [painted.stamps[band][number].light.astype(float) for band in images.bands]
        # Photon noise of the typical gain, in electrons per nJy.
        expected, light = fluxes(row["source_mag_r"]) * row["magnification"], stamps[1].sum()
        assert light == pytest.approx(expected, abs=5 * (expected / painted.gain["r"]) ** 0.5)
        assert row["snr"] >= tile.PAINTED.least_snr
        true = []
        for stamp in stamps:
            rows, columns = (side // len(stamp) for side in noise.shape)
            cut = noise[: rows * len(stamp), : columns * len(stamp)].reshape(rows, len(stamp), columns, len(stamp))
            true.append((stamp**2).sum() / np.einsum("aybx,yx->ab", cut, stamp).std())
        ratio.append(row["snr"] / max(true))
    # Photon noise adds to the light as it was painted, and the lens galaxy to the noise: a little below 1.
    assert 0.75 < np.median(ratio) < 1.03
    assert max(ratio) < 1.12
