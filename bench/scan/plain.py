"""The plain loop over the first tile of a scan, in turns with it: the same model, as many objects."""

from __future__ import annotations

from statistics import median

from bench.harness.setup import Setup, default_session
from bench.harness.timing import cost
from bench.scan import plain_loop
from bench.scan.window import Turns


class Plain:
    """Objects a second of ``bench.scan.plain_loop`` on the first tile of ``ours``, in as many turns."""

    def __init__(self, setup: Setup, ours: Turns, objects: int) -> None:
        self._setup, self._ours, self._objects = setup, ours, objects
        self._session = default_session(ours.encoder.path)
        self.rates: list[float] = []

    def take(self) -> None:
        """One turn."""
        side, done = self._ours.encoder.contract.window, 0

        def work() -> None:
            nonlocal done
            with self._setup.scratch() as folder:
                done = plain_loop.scan(self._ours.tiles[:1], self._session, side, self._objects, folder)

        spent = cost(work)
        self.rates.append(done / spent.wall)

    @property
    def rate(self) -> float:
        return median(self.rates)

    @property
    def ratio(self) -> float:
        """Objects a second of the scan over those of this loop, which has no fill to leave out."""
        return median(part.rate / rate for part, rate in zip(self._ours.windows, self.rates, strict=True))
