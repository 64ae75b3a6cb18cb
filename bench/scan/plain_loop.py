"""The scan as one would first write it: one step after the other, with every library as it comes.

Each band with astropy, objects of r with sep on its whole background, windows by slicing (every band at the pixels of
r), ONNX Runtime's own threads in batches of 256, one Parquet file a tile. Its catalogue has positions, one flux and the
embedding; the scan's also has photometry of five bands, shapes, sky bookkeeping, and survives being killed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sep
from astropy.io import fits
from numpy.typing import NDArray

from bench.harness.tiles import SURVEY
from scanner.images.sky.wcs import read_wcs
from scanner.survey.survey import AB_NANOJANSKY
from scanner.survey.tile import Tile

BATCH = 256


def scan(tiles: Iterable[Tile], running: Any, window: int, most: int, out: Path) -> int:
    """Embed the ``most`` objects of each tile with the highest signal to noise into ``out``; how many there were.

    The limit gives this loop as many objects as the scan has, though the two detect with different settings.
    """
    return sum(_scan_tile(tile, running, window, most, out) for tile in tiles)


def _scan_tile(tile: Tile, running: Any, window: int, most: int, out: Path) -> int:
    planes = np.stack([_read(tile.files[band], SURVEY.band(band).zero_point) for band in SURVEY.band_names])
    with fits.open(tile.files["r"]) as hdus:
        image = next(hdu for hdu in hdus if hdu.data is not None)
        sky = read_wcs(image.header, image.shape, tile.files["r"])
    objects = _detect(planes[SURVEY.band_names.index("r")], most)
    # Windows at the edge reach beyond the image, where there are no data.
    padded = np.pad(planes, ((0, 0), (window, window), (window, window)), constant_values=np.nan)
    vectors = []
    for start in range(0, len(objects), BATCH):
        cutouts = _cut(padded, objects[start : start + BATCH], window)
        vectors.append(running.run(None, {"flux": cutouts})[0])
    ra, dec = sky.pixels_to_sky(objects["x"], objects["y"])
    embedding = pa.FixedSizeListArray.from_arrays(np.concatenate(vectors).reshape(-1), vectors[0].shape[1])
    columns = {"ra": ra, "dec": dec, "flux": objects["flux"], "embedding": embedding}
    pq.write_table(pa.table(columns), out / f"{tile.name}.parquet", compression="zstd")
    return len(objects)


def _read(path: Path, zero_point: float) -> NDArray[np.float32]:
    with fits.open(path) as hdus:
        data = next(hdu.data for hdu in hdus if hdu.data is not None)
        # The factor converts the units of the file to nJy.
        return np.asarray(data * np.float32(10 ** (0.4 * (AB_NANOJANSKY - zero_point))), np.float32)


def _detect(plane: NDArray[np.float32], most: int) -> NDArray[Any]:
    mask = ~np.isfinite(plane) | (plane == 0)
    data = np.where(mask, 0, plane).astype(np.float32)
    sky = sep.Background(data, mask=mask)
    objects = sep.extract(data - sky, 1.5, err=sky.globalrms, mask=mask)
    best = np.argsort(-objects["flux"] / np.sqrt(objects["npix"]))[:most]
    brightest: NDArray[Any] = objects[np.sort(best)]
    return brightest


def _cut(padded: NDArray[np.float32], objects: NDArray[Any], window: int) -> NDArray[np.float32]:
    half = window // 2
    # x and y are the corner of the window in the padded image, in whole pixels.
    x, y = (np.round(objects[axis]).astype(int) + window - half for axis in "xy")
    return np.stack([padded[:, b : b + window, a : a + window] for a, b in zip(x, y, strict=True)])
