"""What else looks like this? From a position, an object or a cutout to the catalogue's most similar objects."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from catalogs.errors import ErrorCode, ScannerError
from catalogs.search import neighbours
from catalogs.search.examples import Example, Unmatched
from catalogs.search.matching import MATCH_RADIUS, match_each, match_one, unmatched_error
from catalogs.store.tile_store import Snapshot
from scanner.encoder.contract import resolve
from scanner.sources import position_files
from scanner.survey.survey import load

if TYPE_CHECKING:
    from astropy.table import Table

    from scanner.encoder.encoder import Encoder
    from scanner.windows.by_position import WindowReader

Flux = npt.NDArray[np.float32]
NOT_CATALOGUED = {ErrorCode.QUERY_NO_OBJECT, ErrorCode.QUERY_OUTSIDE_COVERAGE, ErrorCode.QUERY_NO_EMBEDDING}

NO_CUTOUT = frozenset(
    {
        ErrorCode.QUERY_NO_GRID,
        ErrorCode.QUERY_NO_PIXELS,
        ErrorCode.QUERY_OUTSIDE_COVERAGE,
        ErrorCode.TILE_ALL_NAN,
        ErrorCode.TILE_BAD_HEADER,
        ErrorCode.TILE_BAD_NAME,
        ErrorCode.TILE_CHANGED,
        ErrorCode.TILE_MISSING_FILE,
        ErrorCode.TILE_NO_IMAGE_HDU,
        ErrorCode.TILE_NO_WCS,
        ErrorCode.TILE_NOT_FITS,
        ErrorCode.TILE_OFF_GRID,
        ErrorCode.TILE_PIXEL_SCALE,
        ErrorCode.TILE_SHAPE_MISMATCH,
        ErrorCode.TILE_TOO_LARGE,
        ErrorCode.TILE_TRUNCATED,
        ErrorCode.TILE_UNREADABLE,
    }
)
"""Errors of one position, or of the images of its tile, that leave the other positions of a list usable."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Position:
    """A place on the sky to ask about: ``ra``, ``dec`` in degrees (ICRS) and the name the user gave it."""

    ra: float
    dec: float
    name: str = ""


class QueryBuilder:
    """Turns what a user points at into examples for a search; opens the encoder only when a spot needs it.

    ``root`` is where the tiles' images lie (None: not at hand); ``model`` is the encoder, the catalogue's own by
    default; ``radius`` is how far from a position its object may be, in arcsec.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        radius: float = MATCH_RADIUS,
        root: Path | None = None,
        survey: str | None = None,
        model: str | None = None,
        device: str = "auto",
    ) -> None:
        self.snapshot = snapshot
        self.radius = radius
        info = snapshot.catalogue.info
        self._device = device
        self._model = model or info.model
        self._encoder: Encoder | None = None
        self._survey = survey or info.survey
        self._root = root

    def gather(
        self, at: Sequence[Position], object_ids: Iterable[int], cutouts: Iterable[Path]
    ) -> tuple[list[Example], bool]:
        """Examples for all that was pointed at, and whether each gave one.

        A position without an object is embedded from its tile, if that is under ``root``. Whatever gives no example is
        named in a warning and left out; the last error is raised if none is left.
        """
        # All positions together, so that each tile is read once.
        matched = match_each(
            self.snapshot, [one.ra for one in at], [one.dec for one in at], self.radius, [one.name for one in at]
        )
        attempts: list[Callable[[], Example]] = [
            *(partial(self._object_or_spot, place, found) for place, found in zip(at, matched, strict=True)),
            *(partial(match_one, self.snapshot, object_id=one) for one in object_ids),
            *(partial(self.cutout, one) for one in cutouts),
        ]
        examples, failures = [], []
        for attempt in attempts:
            try:
                examples.append(attempt())
            except ScannerError as error:
                failures.append(error)
        for failure in failures if examples else failures[:-1]:
            log.warning("%s [%s]", failure.message, failure.code)
        if failures and not examples:
            raise failures[-1]
        return examples, not failures

    def _object_or_spot(self, at: Position, found: Example | Unmatched) -> Example:
        if isinstance(found, Example):
            return found
        error = unmatched_error(self.snapshot, found, self.radius)
        if found.code not in NOT_CATALOGUED or self._root is None:
            raise error
        log.info("%s Embedding the spot itself.", error.message)
        return self.spot(at)

    def cutout(self, path: Path) -> Example:
        """Embed a FITS cutout of the user's own."""
        from scanner.windows import by_position
        from scanner.windows.frame import WindowFrame

        pixels = by_position.read_cutout(path, load(self._survey), WindowFrame(*self.encoder.contract.frame))
        return Example(path.name, self._embed(pixels), pixels=pixels)

    def spot(self, at: Position) -> Example:
        """Embed a position from its tile, whether or not an object is there.

        Raises:
            ScannerError: ``query.outside_coverage``, ``query.no_pixels``, or what opening the tile raises.
        """
        pixels = self.stamps().at(at.ra, at.dec)
        return Example(at.name, self._embed(pixels), at.ra, at.dec, pixels=pixels)

    def stamps(self) -> WindowReader:
        """The windows that the encoder sees; ``ScannerError`` ``query.no_root`` without a folder of images."""
        from scanner.windows import by_position

        if self._root is None:
            hint = "Say with --root where the images of the tiles are."
            raise ScannerError(ErrorCode.QUERY_NO_ROOT, "Pixels are needed, and it is not known where they are.", hint)
        return by_position.WindowReader.of_catalogue(self.snapshot.catalogue, self._root, self._survey)

    @property
    def at_hand(self) -> bool:
        """Whether it is known where the images of the tiles are."""
        return self._root is not None

    def _embed(self, pixels: Flux) -> npt.NDArray[np.float32]:
        if not np.isfinite(pixels).any():
            raise ScannerError(
                ErrorCode.QUERY_NO_PIXELS, "There is no pixel with data there.", "Ask for another position."
            )
        vector: npt.NDArray[np.float32] = self.encoder.embed(pixels[None])[0]
        return vector

    @property
    def encoder(self) -> Encoder:
        """The encoder that made the catalogue; ``ScannerError`` ``catalogue.other_model`` and those of ``Encoder``."""
        if self._encoder is None:
            from scanner.encoder.encoder import Encoder

            info = self.snapshot.catalogue.info
            precision = info.contract.get("precision", "fp32")
            encoder = Encoder(_own_model(self._model, info.model, precision), device=self._device)
            if encoder.sha256 != info.model_sha256:
                raise ScannerError(
                    ErrorCode.CATALOGUE_OTHER_MODEL,
                    f"The catalogue was made with model {info.model} (sha256 {info.model_sha256[:12]}), "
                    f"{encoder.path} is another (sha256 {encoder.sha256[:12]}): their embeddings cannot be compared.",
                    "Give the catalogue's own model with --model.",
                )
            self._encoder = encoder
        return self._encoder


def _own_model(model: str, recorded: str, precision: str) -> Path:
    try:
        return resolve(model, precision)
    except ScannerError as error:
        if model != recorded:
            raise
        hint = f"The catalogue was made with a model called {recorded}: say with --model where that file is."
        raise ScannerError(error.code, error.message, hint) from error


def collect_positions(ra: float | None, dec: float | None, name: str | None, table: Path | None) -> Iterator[Position]:
    """The positions that were asked for: one, that of a name (looked up on-line by Sesame), those of a table.

    Raises ``ScannerError``: ``name.unresolved``, or what ``position_files.read_positions`` raises.
    """
    if ra is not None and dec is not None:
        yield Position(ra, dec, f"{ra:.5f} {dec:+.5f}")
    if name is not None:
        yield _resolved(name)
    if table is not None:
        read = position_files.read_positions(table)
        if not read.on_sky:
            raise ScannerError(
                ErrorCode.SOURCES_NO_POSITIONS, f"{table} has no sky positions.", "Name its columns ra and dec."
            )
        for number, (one_ra, one_dec) in enumerate(zip(read.first.tolist(), read.second.tolist(), strict=True), 1):
            yield Position(one_ra, one_dec, str(number))


def _resolved(name: str) -> Position:
    from astropy.coordinates import SkyCoord
    from astropy.coordinates.name_resolve import NameResolveError

    try:
        found = SkyCoord.from_name(name, parse=True)
    except NameResolveError as error:
        hint = "Check the spelling and the network, or give --ra and --dec."
        raise ScannerError(ErrorCode.NAME_UNRESOLVED, f"No position is known for {name!r}.", hint) from error
    return Position(float(found.ra.deg), float(found.dec.deg), name)


def ask(
    snapshot: Snapshot,
    examples: Sequence[Example],
    k: int,
    where: str | None = None,
    near: tuple[float, float, float] | None = None,
) -> list[Table]:
    """The ``k`` objects most like each example, best first; an object is not its own neighbour.

    ``where`` (a filter) and ``near`` (ra, dec in degrees, radius in arcsec) restrict the answer.
    """
    return neighbours.neighbours_of_many(
        snapshot,
        np.stack([example.vector for example in examples]),
        k,
        exclude=[neighbours.around(example) for example in examples],
        where=where,
        near=near,
    )


def join_answers(examples: Sequence[Example], answers: Sequence[Table]) -> Table:
    """One table of all answers; with more than one a column ``query`` says whose each row is."""
    from astropy.table import vstack

    if len(answers) == 1:
        return answers[0]
    for example, answer in zip(examples, answers, strict=True):
        answer.add_column([example.name] * len(answer), name="query", index=0)
    return vstack(list(answers), metadata_conflicts="silent")


def describe_query(example: Example) -> str:
    """An example in words."""
    if example.object_id is not None:
        return f"object {example.object_id} at {example.ra:.6f} {example.dec:+.6f}"
    if example.ra is not None:
        return f"the spot at {example.ra:.6f} {example.dec:+.6f}, which is no catalogued object"
    return f"the cutout {example.name}"
