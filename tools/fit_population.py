"""Fit the galaxy population to the COSMOS table: ``python -m tools.fit_population TABLE``.

It writes ``training/simulate/population.json``.

The table (F814W < 23.5 Sersic fits with Subaru g r i) is not shipped. Two things are fitted to it: number counts, and a
Gaussian mixture over magnitude, size, Sersic index, axis ratio and two colours, which keeps their correlations (small
red n = 4 spheroids, large blue discs). Colours of four template spectra (Coleman, Wu & Weedman 1980, as GalSim ships
them) against redshift are added, so that u and z follow from type and redshift.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

COLUMNS = ("mag", "log_size", "log_n", "shape", "g_r", "r_i")
COMPONENTS = 12
TEMPLATES = ("E", "Sbc", "Scd", "Im")
REDSHIFTS = np.round(np.arange(0.02, 3.52, 0.05), 3)
TABLE_PIXEL = 0.168  # arcsec, the unit of ``reff_pix``
CELL = 0.02  # deg, cells whose count tells the area the table covers
COUNTED = (19.5, 23.25)  # F814W range that the counts are fitted in
SEED = 54444


def load(path: Path) -> dict[str, Array]:
    """Read the rows of the table with sizes, indices and axis ratios inside the fitter's bounds, and with colours."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    raw = {name: np.asarray(table[name], dtype=float) for name in table.column_names}
    valid = (raw["reff_pix"] > 0.3) & (raw["reff_pix"] < 60) & (raw["sersic_n"] > 0.15) & (raw["sersic_n"] < 5.99)
    valid &= (raw["b_a"] > 0.06) & (raw["b_a"] < 0.995)
    valid &= np.abs(raw["mag_auto"] - raw["mag_f814w_fit"]) < 1.5
    for band in ("g", "r", "i"):
        valid &= (raw[f"subaru_{band}"] > 15) & (raw[f"subaru_{band}"] < 27)
    return {name: column[valid] for name, column in raw.items()}


def features(rows: dict[str, Array]) -> Array:
    """Compute the features of the mixture, [N, 6] in the order of ``COLUMNS``; ``shape`` is logit(b/a)."""
    q = rows["b_a"]
    columns = [
        rows["mag_auto"],
        np.log10(rows["reff_pix"] * TABLE_PIXEL),
        np.log10(rows["sersic_n"]),
        np.log(q / (1 - q)),
        rows["subaru_g"] - rows["subaru_r"],
        rows["subaru_r"] - rows["subaru_i"],
    ]
    x = np.stack(columns, axis=1)
    return x[np.all(np.abs(x[:, 4:] - 0.8) < 2.2, axis=1)]


def counts(path: Path) -> dict[str, Any]:
    """Fit log10 of galaxies per mag and square degree by a parabola in F814W - 22, over the area of the table."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["ra", "dec", "mag_auto"])
    ra, dec, mag = (np.asarray(table[name]) for name in ("ra", "dec", "mag_auto"))
    edges = [np.arange(v.min(), v.max() + CELL, CELL) for v in (ra, dec)]
    cells, _, _ = np.histogram2d(ra, dec, bins=edges)
    area = np.count_nonzero(cells > 3) * CELL**2 * np.cos(np.radians(dec.mean()))
    bins = np.arange(COUNTED[0], COUNTED[1] + 0.01, 0.25)
    number, _ = np.histogram(mag, bins)
    middle = (bins[1:] + bins[:-1]) / 2
    fit = np.polyfit(middle - 22, np.log10(number / 0.25 / area), 2, w=np.sqrt(number))
    return {"pivot": 22.0, "log_density": [round(float(c), 5) for c in fit[::-1]], "area_deg2": round(float(area), 4)}


def mixture(x: Array, components: int = COMPONENTS, steps: int = 200, seed: int = SEED) -> dict[str, Any]:
    """Fit a Gaussian mixture with full covariances by expectation-maximisation, from random rows."""
    rng = np.random.default_rng(seed)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    z = (x - mean) / scale
    means = z[rng.choice(len(z), components, replace=False)]
    covs = np.tile(np.eye(z.shape[1]), (components, 1, 1))
    weights = np.full(components, 1 / components)
    for _ in range(steps):
        log = np.stack([_log_normal(z, m, c) for m, c in zip(means, covs, strict=True)], axis=1) + np.log(weights)
        share = np.exp(log - log.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        total = share.sum(axis=0)
        weights, means = total / len(z), (share.T @ z) / total[:, None]
        for k in range(components):
            d = z - means[k]
            covs[k] = (d * share[:, k, None]).T @ d / total[k] + 1e-4 * np.eye(z.shape[1])
    order = np.argsort(-weights)
    return {
        "columns": list(COLUMNS),
        "weights": np.round(weights[order], 6).tolist(),
        "means": np.round(means[order] * scale + mean, 5).tolist(),
        "covariances": np.round(covs[order] * np.outer(scale, scale), 6).tolist(),
    }


def _log_normal(x: Array, mean: Array, cov: Array) -> Array:
    factor = np.linalg.cholesky(cov)
    d = np.linalg.solve(factor, (x - mean).T)
    return np.asarray(-0.5 * (d**2).sum(axis=0) - np.log(np.diag(factor)).sum())


def templates() -> dict[str, Any]:
    """Compute AB magnitudes of the templates in LSST filters against redshift.

    ``colours`` [T][Z][5] are u g r i z less r. ``k_correction`` [T][Z] is K of m = M + DM + K in r. GalSim's
    ``atRedshift`` keeps photons per second and nm at the stretched wavelength; with the luminosity distance that is the
    physical dimming, so K is a plain difference.
    """
    bands = {
        band: galsim.Bandpass(f"LSST_{band}.dat", wave_type="nm").withZeropoint("AB").thin(1e-3) for band in "ugriz"
    }
    colours, k_correction = [], []
    for name in TEMPLATES:
        sed = galsim.SED(f"CWW_{name}_ext.sed", wave_type="Ang", flux_type="flambda")
        rest = sed.calculateMagnitude(bands["r"])
        rows, ks = [], []
        for z in REDSHIFTS:
            mags = {band: sed.atRedshift(z).calculateMagnitude(bands[band]) for band in bands}
            rows.append([round(float(mags[band] - mags["r"]), 4) for band in "ugriz"])
            ks.append(round(float(mags["r"] - rest), 4))
        colours.append(rows)
        k_correction.append(ks)
    return {
        "names": list(TEMPLATES),
        "redshifts": REDSHIFTS.tolist(),
        "colours": colours,
        "k_correction": k_correction,
    }


def main(path: Path) -> None:
    """Fit everything and write ``training/simulate/population.json``."""
    fitted = {
        "source": "COSMOS F814W Sersic fits with Subaru g r i, 54,444 rows, fitted by tools.fit_population",
        "counts": counts(path),
        "mixture": mixture(features(load(path))),
        "templates": templates(),
    }
    out = Path(__file__).parents[1] / "training" / "simulate" / "population.json"
    out.write_text(json.dumps(fitted, separators=(",", ":")).replace('},"', '},\n"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
