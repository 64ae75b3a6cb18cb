"""The truth table of an injection: a row for each lens, as CSV, and as ECSV with units and descriptions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Column, Table

from catalogs import atomic
from training.inject.tile import Row

COLUMNS: dict[str, tuple[type, str, str]] = {
    "tile": (str, "", "tile whose files hold the lens"),
    "ra": (float, "deg", "right ascension of the host, ICRS"),
    "dec": (float, "deg", "declination of the host, ICRS"),
    "x": (float, "pix", "column of the host in the detection band, from 0"),
    "y": (float, "pix", "row of the host in the detection band, from 0"),
    "kind": (str, "", "source: galaxy or quasar"),
    "theta_e": (float, "arcsec", "Einstein radius"),
    "snr": (float, "", "signal to noise of the arc by a matched filter, in the noise as measured, better of g and r"),
    "magnification": (float, "", "flux of all images in r over that of all light of the source"),
    "source_mag_r": (
        float,
        "mag",
        "AB, of all light of the source before magnification: a quasar with its host galaxy",
    ),
    "z_source": (float, "", "redshift of the source"),
    "host_mag_r": (float, "mag", "AB, of the host as it was detected"),
    "host_size": (float, "arcsec", "half-light radius of the host without the seeing"),
    "z": (float, "", "redshift of the deflector that was drawn for the host"),
    "q": (float, "", "axis ratio of the mass"),
    "seeing": (float, "arcsec", "FWHM of the PSF in the detection band, without the pixel"),
    "seed": (int, "", "seed of the injection"),
}
"""Type, unit and description of each column."""


def write(folder: Path, rows: Sequence[Row]) -> Path:
    """Write ``truth.ecsv`` and ``truth.csv``, each at once; returns the path of the latter."""
    table = Table()
    for name, (kind, unit, description) in COLUMNS.items():
        values = [np.nan if row[name] is None else row[name] for row in rows]
        table[name] = Column(np.array(values, kind), unit=unit or None, description=description)
        if kind is float:
            table[name].info.format = ".7f" if name in ("ra", "dec") else ".4f"
    for name, form in (("truth.ecsv", "ascii.ecsv"), ("truth.csv", "ascii.csv")):
        text = io.StringIO()
        table.write(text, format=form)
        atomic.write_text(folder / name, text.getvalue())
    return folder / "truth.csv"
