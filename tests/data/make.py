"""Make the real pixels of the tests: ``python tests/data/make.py FRAMES OUT``; FRAMES is the folder of the originals.

The originals are not part of this repository; README.md says where they come from, and under which licence.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

BANDS = "gri"
SIDE = 96
"""Side of a cutout, px."""

TILE = "113.280"
TILE_SIDE = 928
PIXEL = 5.160234650248e-05
"""Pixel of a UNIONS tile, degrees."""
NO_DATA_BIT = 8
FILES = {"g": "calexp-CFIS_113_280.fits.fz", "r": "CFIS.113.280.r.fits.fz", "i": "PSS.DR4.113.280.i.fits.fz"}
ZERO_POINT = {"g": 27.0, "r": 30.0, "i": 30.0}
NOISE = {"g": 0.75, "r": 1.45, "i": 2.0}
"""Noise of a source pixel at zero point 30, from which the variance plane is made."""

NOTES = (
    "CFHT Legacy Survey (MegaCam), from zooniverse/Lens-Zoo; see README.md.",
    "Flux is rebuilt from 8-bit HumVI composites: 1 % above 5 sigma.",
    "Pixels clipped at 0 hold half-normal noise, which is invented.",
    "Changed: cut and quantised anew by tests/data/make.py.",
)


@dataclass(frozen=True)
class Object:
    """What is at 0-based pixel x, y of a source frame."""

    name: str
    label: str
    frame: str
    x: float
    y: float
    position: str


@dataclass(frozen=True)
class Piece:
    """A square of a source frame, from its pixel ``left``, ``bottom``, and its lower left corner in the tile."""

    frame: str
    left: int
    bottom: int
    side: int
    to_x: int
    to_y: int


LENSES = (
    Object("lens_galaxy", "lens", "known_dev/CFHTLS_119_5478_1610_o_gri", 107, 107, "frame centre"),
    Object("lens_group", "lens", "known_dev/CFHTLS_001_12102_1549_o_gri", 107, 107, "frame centre"),
)
SPIRAL = Object("spiral", "look_alike", "guide/spirals-rings/SF_halo_arms", 328.7, 244.3, "by eye")
LOW_MASS = Object(
    "low_mass", "look_alike", "guide/lightweights/CFHTLS_084_6943_2087_b_gri", 219.5, 219.5, "frame centre"
)
TRAIL = Object("satellite_trail", "artefact", "guide/artifact/AT_satellite_green", 236, 267, "by eye")
STAR = Object("star", "star", "guide/stars/ST_colhalo", 106, 316, "by eye")

CUTOUTS = (
    *LENSES,
    SPIRAL,
    Object("ring", "look_alike", "guide/spirals-rings/CFHTLS_074_0786_gri", 113.7, 294.9, "by eye"),
    Object("elliptical", "look_alike", "guide/loners/CFHTLS_101_10091_10348_b_gri", 155.8, 140.8, "catalogue"),
    Object("disc", "look_alike", "guide/neighbours/MN_satellites", 141.0, 73.5, "catalogue"),
    Object("merger", "look_alike", "guide/neighbours/MN_satellites", 390.6, 222.9, "catalogue"),
    TRAIL,
    STAR,
    Object("galaxy_19", "galaxy", "guide/stars/ST_bluehalo", 342.3, 65.8, "catalogue"),
    Object("galaxy_20", "galaxy", "guide/artifact/black_square", 129.9, 257.0, "catalogue"),
    Object("galaxy_21", "galaxy", "guide/loners/CFHTLS_110_1042_7688_b_gri", 61.4, 260.5, "catalogue"),
    Object("galaxy_22", "galaxy", "guide/loners/CFHTLS_110_1042_7688_b_gri", 126.2, 285.1, "catalogue"),
)

# Four squares of 440 px, 16 px apart and from the edge; the first is four of 215 px, 10 px apart.
PIECES = (
    Piece(LENSES[0].frame, 0, 0, 215, 16, 16),
    Piece(LENSES[1].frame, 0, 0, 215, 241, 16),
    Piece(SPIRAL.frame, 222, 137, 215, 16, 241),
    Piece(STAR.frame, 0, 208, 215, 241, 241),
    Piece("guide/loners/CFHTLS_050_8615_13075_b_gri", 0, 0, 440, 472, 16),
    Piece(LOW_MASS.frame, 0, 0, 440, 16, 472),
    Piece(TRAIL.frame, 0, 0, 440, 472, 472),
)
ON_TILE = (*LENSES, SPIRAL, STAR, LOW_MASS, TRAIL)

COPIES = {
    "fields/cfhtls_gri/CFHTLS_03_g_sci.fits.fz": "megacam",
    "fields/legacysurvey_brick_z/legacysurvey-1238p245-image-z.fits.fz": "legacysurvey",
    "fields/legacysurvey_brick_z/legacysurvey-1238p245-invvar-z.fits.fz": "legacysurvey",
    "catalogs/lenscat_catalog.csv.gz": "lenscat",
}
PICTURES = "labelled/galaxy_nongalaxy/galaxy"
COSMOS = "sim/cosmos_sersic_54444.parquet"


def make(frames: Path, out: Path) -> None:
    """Write every file of this folder that is made or copied from ``frames`` to ``out``."""
    cutouts(frames, out / "cutouts")
    tile(frames, out / "tile")
    copies = dict(COPIES)
    copies |= {f"{PICTURES}/{path.name}": "pictures" for path in sorted((frames / PICTURES).glob("*.jpg"))[:40]}
    for name, folder in copies.items():
        (out / folder).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(frames / name, out / folder / Path(name).name)
    cosmos(frames / COSMOS, out / "cosmos" / "summary.json")


def cutouts(frames: Path, out: Path) -> None:
    """Write a file of HDUs G, R and I for each object, centred on it to half a pixel, and ``labels.csv``."""
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for item in CUTOUTS:
        left, bottom = (int(np.floor(centre - SIDE / 2 + 1)) for centre in (item.x, item.y))
        primary = fits.PrimaryHDU()
        primary.header.update(OBJECT=item.name, CLASS=item.label)
        describe(primary.header, item.frame)
        hdus = [primary]
        for band in BANDS:
            header = fits.Header({"BAND": band, "MAGZERO": 30.0, "PIXSCALE": 0.186})
            header.comments["MAGZERO"], header.comments["PIXSCALE"] = "AB", "arcsec"
            hdus.append(pack(square(frames, item.frame, band, left, bottom, SIDE), header, band.upper()))
        fits.HDUList(hdus).writeto(out / f"{item.name}.fits.fz", overwrite=True)
        rows.append([f"{item.name}.fits.fz", item.label, f"cfhtls/{item.frame}.fits.fz", left, bottom, item.position])
    write_csv(out / "labels.csv", ["file", "label", "frame", "left", "bottom", "position"], rows)


def tile(frames: Path, out: Path) -> None:
    """Write the tile's three bands and ``truth.csv``; no data is 0 in r, NaN in i, and a bit of the mask in g."""
    out.mkdir(parents=True, exist_ok=True)
    for band in BANDS:
        image = np.full((TILE_SIDE, TILE_SIDE), np.nan, np.float32)
        for piece in PIECES:
            pixels = square(frames, piece.frame, band, piece.left, piece.bottom, piece.side)
            image[piece.to_y : piece.to_y + piece.side, piece.to_x : piece.to_x + piece.side] = pixels
        header = place_on_sky()
        header["MAGZERO"] = (ZERO_POINT[band], "AB")
        describe(header, "a mosaic: see truth.csv")
        header["COMMENT"] = "The position on the sky is invented, and so is the variance."
        fits.HDUList([fits.PrimaryHDU(), *planes(band, image, header)]).writeto(out / FILES[band], overwrite=True)
    write_csv(out / "truth.csv", ["x", "y", "ra", "dec", "label", "name", "mag_r_2arcsec", "frame"], truth(frames))


def planes(band: str, image: NDArray[np.float32], header: fits.Header) -> list[fits.CompImageHDU]:
    """The image HDU of r or i; IMAGE, MASK and VARIANCE of g."""
    scale = np.float32(10 ** (0.4 * (ZERO_POINT[band] - 30)))
    missing = np.isnan(image)
    if band != "g":
        return [pack(np.where(missing, np.float32(0), image) if band == "r" else image, header, None)]
    mask, variance = place_on_sky(), place_on_sky()
    mask["HIERARCH MP_NO_DATA"] = NO_DATA_BIT
    noise = np.where(missing, np.float32(np.nan), np.float32((NOISE[band] * scale) ** 2))
    hdus = [
        pack(np.where(missing, np.float32(0), image * scale), header, "IMAGE"),
        fits.CompImageHDU(np.where(missing, 1 << NO_DATA_BIT, 0).astype(np.int32), mask, name="MASK"),
        fits.CompImageHDU(noise, variance, name="VARIANCE", quantize_level=-1e-3 * float(np.nanmax(noise))),
    ]
    for hdu in hdus:
        hdu.header["EXTTYPE"] = hdu.name
    return hdus


def place_on_sky() -> fits.Header:
    """Tangent plane about the centre of the tile of this name, in the cards that UNIONS writes."""
    x, y = (int(part) for part in TILE.split("."))
    dec = y / 2 - 90
    return fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg"}
        | {"CRVAL1": x / 2 / np.cos(np.radians(dec)), "CRVAL2": dec, "CRPIX1": TILE_SIDE / 2, "CRPIX2": TILE_SIDE / 2}
        | {"CD1_1": -PIXEL, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": PIXEL, "RADESYS": "ICRS", "EQUINOX": 2000.0}
    )


def truth(frames: Path) -> Iterator[list[object]]:
    """What is known to be where in the tile: the objects above, then the galaxies of the originals' own table."""
    for piece in PIECES:
        for item in ON_TILE:
            if item.frame == piece.frame:
                yield placed(piece, item.x, item.y, [item.label, item.name, ""])
    corners = {}
    for row in rows_of(frames / "tiles_dev" / "layout.csv"):
        corners[row["tile"], Path(row["file"]).name.removesuffix(".fits.fz")] = int(row["x0"]), int(row["y0"])
    for piece in PIECES:
        for row in rows_of(frames / "tiles_dev" / "negatives.csv"):
            x0, y0 = corners[row["tile"], row["frame"]]
            x, y = float(row["x"]) - x0, float(row["y"]) - y0
            inside = all(4 < place - first < piece.side - 5 for place, first in ((x, piece.left), (y, piece.bottom)))
            if row["frame"] == Path(piece.frame).name and inside:
                yield placed(piece, x, y, ["galaxy", row["name"], row["mag_r_2arcsec"]])


def placed(piece: Piece, x: float, y: float, about: list[str]) -> list[object]:
    """A row of the truth table for pixel ``x``, ``y`` of the piece's frame."""
    right, up = x - piece.left + piece.to_x, y - piece.bottom + piece.to_y
    ra, dec = WCS(place_on_sky()).all_pix2world(right, up, 0)
    return [f"{right:.3f}", f"{up:.3f}", f"{ra:.7f}", f"{dec:.7f}", *about, f"cfhtls/{piece.frame}.fits.fz"]


def cosmos(table: Path, out: Path) -> None:
    """Write what the simulation's population is compared with: counts, means, quartiles of the COSMOS galaxies.

    The table itself may not be passed on.
    """
    import pyarrow.parquet as pq

    from tools import fit_population as fit

    rows, every = fit.load(table), np.asarray(pq.read_table(table, columns=["mag_auto"])["mag_auto"])
    x = fit.features(rows)
    edges = np.arange(20.0, 23.01, 0.5)
    summary: dict[str, Any] = {
        "counts": {
            f"{low:.1f}": int(number) for low, number in zip(edges, np.histogram(every, edges)[0], strict=False)
        },
        "features": {"mean": x.mean(axis=0).round(6).tolist(), "std": x.std(axis=0).round(6).tolist()},
        "at": {},
    }
    for low in (20.5, 21.5, 22.5):
        here = {
            name: values[(rows["mag_auto"] > low) & (rows["mag_auto"] < low + 0.5)] for name, values in rows.items()
        }
        measured = {
            "size": np.log10(here["reff_pix"] * fit.TABLE_PIXEL),
            "n": np.log10(np.clip(here["sersic_n"], 0.5, 5.5)),
            "q": here["b_a"],
            "g - r": here["subaru_g"] - here["subaru_r"],
            "r - i": here["subaru_r"] - here["subaru_i"],
        }
        summary["at"][f"{low}"] = {
            "magnitude percentiles": np.percentile(here["mag_auto"], np.arange(101)).round(4).tolist(),
            **{name: np.percentile(values, [25, 50, 75]).round(6).tolist() for name, values in measured.items()},
        }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(summary, indent=1) + "\n")


def square(frames: Path, frame: str, band: str, left: int, bottom: int, side: int) -> NDArray[np.float32]:
    """``side`` x ``side`` pixels of a frame, AB zero point 30."""
    pixels = fits.getdata(frames / "cfhtls" / f"{frame}.fits.fz", band.upper())
    cut = np.asarray(pixels[bottom : bottom + side, left : left + side], np.float32)
    if cut.shape != (side, side):
        raise ValueError(f"{frame} ends before {left + side}, {bottom + side}")
    return cut


def pack(image: NDArray[np.float32], header: fits.Header, name: str | None) -> fits.CompImageHDU:
    """RICE with steps of a quarter of the noise; zeros and NaN stay what they are."""
    return fits.CompImageHDU(
        image, header, name=name, compression_type="RICE_1", quantize_level=4, quantize_method=2, dither_seed=1
    )


def describe(header: fits.Header, frame: str) -> None:
    """Source, licence and changes, as the licence asks for them in a changed file."""
    header.update(FRAME=frame.rpartition("/")[2], SOURCE="zooniverse/Lens-Zoo", LICENCE="Apache-2.0")
    for note in NOTES:
        header["COMMENT"] = note


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def write_csv(path: Path, names: list[str], rows: Any) -> None:
    with path.open("w", newline="") as lines:
        csv.writer(lines, lineterminator="\n").writerows([names, *rows])


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))
