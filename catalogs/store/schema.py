"""The columns of a catalogue: names, types, units, UCDs and descriptions.

The scan fills them: shape and photometry in ``scanner.sources.sources``, the embedding in ``scanner.scan.tile_rows``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.store.scores import Scores

EMBEDDING = "embedding"
IS_PRIMARY = "is_primary"
HEALPIX_ORDER = 29
HEALPIX = f"_healpix_{HEALPIX_ORDER}"

# UCD1+ names the optical ranges U, B, V, R and I only, so i and z share a word.
_SPECTRAL = {"u": "em.opt.U", "g": "em.opt.B", "r": "em.opt.R", "i": "em.opt.I", "z": "em.opt.I", "y": "em.IR.NIR"}


@dataclass(frozen=True)
class Column:
    """One column; ``unit`` is a VOUnit string ("" where there is none), ``ucd`` a UCD1+ word."""

    name: str
    type: pa.DataType
    unit: str
    ucd: str
    description: str

    def field(self) -> pa.Field:
        """Make the Arrow field, never null; unit, UCD and description become field metadata."""
        facts = {"unit": self.unit, "ucd": self.ucd, "description": self.description}
        return pa.field(self.name, self.type, nullable=False, metadata={k: v for k, v in facts.items() if v})


def catalogue_schema(bands: Sequence[str], dim: int, scores: Scores | None = None) -> pa.Schema:
    """Make the Arrow schema of every tile file: ``bands`` in survey order, embeddings of ``dim`` float32.

    ``scores`` are those of the model, if it gives any.
    """
    photometry = [column for band in bands for column in _band_columns(band)]
    columns = (*_POSITION, *photometry, *_SHAPE, *_score_columns(scores), _embedding(dim))
    return pa.schema([column.field() for column in columns])


def healpix29(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the nested HEALPix pixels [N] at order 29 of positions in degrees ICRS, the spatial key of HATS."""
    from astropy import units
    from astropy_healpix.core import lonlat_to_healpix

    if len(ra) == 0:
        return np.zeros(0, np.int64)
    pixel = lonlat_to_healpix(ra * units.deg, dec * units.deg, 2**HEALPIX_ORDER, order="nested")
    return np.asarray(pixel, np.int64)


_f32, _f64, _i32, _i64, _text, _bool = pa.float32(), pa.float64(), pa.int32(), pa.int64(), pa.string(), pa.bool_()

_THETA = "Angle of the major axis from +x to +y of the image, not from north"

_POSITION = (
    Column("object_id", _i64, "", "meta.id;meta.main", "Number of the tile times 1,000,000 plus the row in it"),
    Column("tile", _text, "", "meta.id;obs.field", "Name of the survey tile"),
    Column("x", _f32, "pix", "pos.cartesian.x", "Position in the detection band, 0-based"),
    Column("y", _f32, "pix", "pos.cartesian.y", "Position in the detection band, 0-based"),
    Column("ra", _f64, "deg", "pos.eq.ra;meta.main", "Right ascension, ICRS"),
    Column("dec", _f64, "deg", "pos.eq.dec;meta.main", "Declination, ICRS"),
    Column(HEALPIX, _i64, "", "pos.healpix", "Nested HEALPix pixel at order 29"),
)

_SHAPE = (
    Column("flux_auto", _f32, "nJy", "phot.flux", "Flux in the Kron aperture of the detection band"),
    Column("mag_auto", _f32, "mag", "phot.mag", "AB magnitude of flux_auto (of detection_band), NaN if not positive"),
    Column("a", _f32, "arcsec", "phys.angSize.smajAxis", "Semi-major axis (second moment)"),
    Column("b", _f32, "arcsec", "phys.angSize.sminAxis", "Semi-minor axis (second moment)"),
    # pos.posAng alone would be read as an angle from north.
    Column("theta", _f32, "deg", "pos.posAng;instr.det", _THETA),
    Column("flux_radius", _f32, "arcsec", "phys.angSize", "Half-light radius in the detection band"),
    Column("snr", _f32, "", "stat.snr", "Signal to noise in the detection band, isophotal where detected"),
    Column("flags", _i32, "", "meta.code.qual", "Bits of the source detection by SEP; the page Columns lists them"),
    Column("detection_band", _text, "", "instr.bandpass", "Band in which the object was found"),
    Column("bands_present", _text, "", "instr.bandpass", "Bands with data here, in survey order"),
    Column("valid_fraction", _f32, "", "stat.value", "Share of the model's input pixels that hold data"),
    Column(IS_PRIMARY, _bool, "", "meta.code", "It lies in its tile's own cell of the grid: overlaps are counted once"),
)


def _band_columns(band: str) -> tuple[Column, Column, Column]:
    light = _SPECTRAL.get(band, "em.opt")
    return (
        Column(
            f"flux_{band}", _f32, "nJy", f"phot.flux;{light}",
            f'Flux in {band}, circular aperture of 3" diameter, without corrections',
        ),
        Column(
            f"fluxerr_{band}", _f32, "nJy", f"stat.error;phot.flux;{light}",
            f"Error of flux_{band}: background or variance plane, pixels independent",
        ),
        Column(f"mag_{band}", _f32, "mag", f"phot.mag;{light}", f"AB magnitude of flux_{band}, NaN if not positive"),
    )  # fmt: skip


def _score_columns(scores: Scores | None) -> tuple[Column, ...]:
    if scores is None:
        return ()
    # UCD1+ has no word for odds, nor for a lens.
    return tuple(
        Column(
            column, _f32, "", "stat.likelihood;src.class",
            f"Natural log-odds of the class {name} at a prevalence of {scores.prevalence:g}",
        )
        for name, column in zip(scores.names, scores.columns, strict=True)
    )  # fmt: skip


def _embedding(dim: int) -> Column:
    # Fixed size: a variable list becomes a column of Python objects in astropy.
    item = pa.field("element", _f32, nullable=False)
    return Column(EMBEDDING, pa.list_(item, dim), "", "stat.value", "Unit vector of the encoder, 10-bit mantissa")
