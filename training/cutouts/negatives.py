"""Hard negatives: what inspectors took for a candidate's false positive, cut from its tiles for the next training."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalogs.errors import ErrorCode, ScannerError
from scanner.images import tile_images
from scanner.sources.position_files import read_positions
from scanner.sources.sources import Sources
from scanner.survey.bands import BANDS
from scanner.survey.survey import Survey, load
from scanner.survey.tile import Tile
from scanner.survey.tile_list import find
from training.cutouts.cutting import TILE_SEEING, Plate, cut_sources
from training.cutouts.selection import Rule
from training.cutouts.shards import LENS, LOOKALIKE, WINDOW, Shard

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NegativeTask:
    """The rejected objects of one tile: positions in degrees, and the kind of each as its label."""

    survey: Survey
    tile: Tile
    ra: tuple[float, ...]
    dec: tuple[float, ...]
    labels: tuple[str, ...]
    window: int = WINDOW
    split: str = "train"

    @property
    def source(self) -> str:
        return f"{self.survey.name}-negatives"

    @property
    def name(self) -> str:
        return f"{self.source}-{self.tile.name}"

    def parts(self) -> Iterator[Shard]:
        """Cut the objects; those that the tile does not hold, or that are mostly without data, are left out.

        Raises:
            ScannerError: As ``open_tile`` does.
        """
        images = tile_images.open_tile(self.survey, self.tile, bands=BANDS, with_variance=False)
        ra, dec = np.array(self.ra), np.array(self.dec)
        x, y = images.to_pixels(images.detection, ra, dec)
        height, width = images.flux.shape[1:]
        here = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
        if not here.all():
            log.warning("Skipped: %d of %d negatives are not on tile %s", (~here).sum(), len(here), self.tile.name)
        sources = Sources.at(images, x[here], y[here], (ra[here], dec[here]))
        plate = Plate(self.source, images, TILE_SEEING, window=self.window)
        yield from cut_sources(plate, Rule(), sources, kind="object", label=np.array(self.labels)[here])


def negative_tasks(
    path: Path, root: Path, survey: str, window: int = WINDOW, split: str = "train"
) -> list[NegativeTask]:
    """List a task for each tile of a table that ``scanner inspect negatives`` wrote.

    An object without a kind is labelled as a look-alike.

    Raises:
        ScannerError: ``sources.*`` for a table without positions, tiles or labels, ``shards.bad`` for one that labels
            an object as a lens, and what is wrong with a tile.
    """
    described = load(survey)
    tiles, labels = read_positions(path, "tile"), read_positions(path, "label")
    if not tiles.on_sky:
        message = f"{path} has no position on the sky."
        raise ScannerError(ErrorCode.SOURCES_NO_POSITIONS, message, "Give the table of scanner inspect negatives.")
    if LENS in labels.words:
        message = f"{path} labels an object as a lens, which is no negative."
        raise ScannerError(ErrorCode.SHARDS_BAD, message, "Give the table of scanner inspect negatives.")
    tasks = []
    for name in sorted(set(tiles.words.tolist())):
        rows = np.flatnonzero((tiles.words == name) & tiles.is_number)
        tile = find(described, name, root)
        if tile.problem is not None:
            raise tile.problem
        said = [str(one).strip() or LOOKALIKE for one in labels.words[rows]]
        places = (tuple(column[rows].tolist()) for column in (tiles.first, tiles.second))
        tasks.append(NegativeTask(described, tile, *places, tuple(said), window, split))
    return tasks
