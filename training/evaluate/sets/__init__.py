"""Sets of cutouts for an evaluation, each made when a task first needs it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from pathlib import Path

from catalogs.errors import ErrorCode, ScannerError
from training.evaluate.sets import pictures, simulated, surveys
from training.evaluate.sets.lenses import LabelledWindows, LookAlikes, load_lenses, load_lookalikes
from training.evaluate.sets.painted import PaintedWindows, load_painted
from training.evaluate.sets.pictures import Pictures, Questions
from training.evaluate.sets.simulated import ExposurePairs, SimulatedWindows
from training.evaluate.sets.surveys import ThreeSurveys


class Sets:
    """Cutouts of ``side`` pixels from the development ``data``, and simulated ones from tiles kept in ``cache``.

    ``painted`` is a folder of shards with painted lenses. A model takes the middle of larger cutouts. Pictures are
    scaled as a whole to the side that it sees.
    """

    def __init__(self, data: Path, cache: Path, side: int, workers: int = 2, painted: Path | None = None) -> None:
        self._data, self._cache, self.side, self._workers = data, cache, side, workers
        self._painted = painted
        # The side of a picture is that of the model, so there is a set for each side.
        self.pictures: Callable[[int], Pictures] = lru_cache(maxsize=None)(partial(pictures.galaxies, data))
        self.zoo: Callable[[int], Questions] = lru_cache(maxsize=None)(partial(pictures.questions, data))

    @cached_property
    def lenses(self) -> LabelledWindows:
        return load_lenses(self._data, self.side)

    @cached_property
    def lookalikes(self) -> LookAlikes:
        return load_lookalikes(self._data, self.side)

    @cached_property
    def painted(self) -> PaintedWindows:
        """What is painted.

        Raises:
            ScannerError: ``evaluate.no_data``, also where no folder was given.
        """
        if self._painted is None:
            message = "Look-alikes are compared with painted lenses, and no folder of these is given."
            raise ScannerError(ErrorCode.EVALUATE_NO_DATA, message, "Give the folder of their shards with --painted.")
        return load_painted(self._painted, self.side)

    @cached_property
    def surveys(self) -> ThreeSurveys:
        return surveys.load(self._data, self.side)

    @cached_property
    def simulated(self) -> SimulatedWindows:
        return simulated.load(self._cache, self.side, workers=self._workers)

    @cached_property
    def exposure_pairs(self) -> ExposurePairs:
        return simulated.exposure_pairs(self.side)
