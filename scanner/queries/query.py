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

from catalogs.catalogue import Catalogue
from catalogs.errors import ErrorCode, ScannerError
from catalogs.search import neighbours as search
from catalogs.search.examples import MATCH_RADIUS
from scanner.encoder.contract import resolve
from scanner.encoder.encoder import Encoder
from scanner.sources import position_files as source_files
from scanner.survey import survey as surveys
from scanner.windows import by_position as stamps
from scanner.windows.frame import WindowFrame

if TYPE_CHECKING:
    from astropy.table import Table

Vector = npt.NDArray[np.float32]
Flux = npt.NDArray[np.float32]
NOT_CATALOGUED = {ErrorCode.QUERY_NO_OBJECT, ErrorCode.QUERY_OUTSIDE_COVERAGE, ErrorCode.QUERY_NO_EMBEDDING}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Position:
    """A place on the sky to ask about: ``ra``, ``dec`` in degrees (ICRS) and the name the user gave it."""

    ra: float
    dec: float
    name: str = ""


@dataclass(frozen=True)
class Query:
    """A question: a ``vector`` [D], and where it comes from.

    ``object_id`` is that of the catalogued object it is, None for a spot or cutout that was embedded on the fly;
    ``flux`` [B, S, S] is the window of such a one.
    """

    name: str
    vector: Vector
    ra: float | None = None
    dec: float | None = None
    object_id: int | None = None
    flux: Flux | None = None


class Asker:
    """Turns what a user points at into queries to one catalogue; opens the encoder only when a spot needs it.

    ``root`` is where the tiles' images lie (None: not at hand); ``model`` is the encoder, the catalogue's own by
    default; ``radius`` is how far from a position its object may be, in arcsec.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        radius: float = MATCH_RADIUS,
        root: Path | None = None,
        survey: str | None = None,
        model: str | None = None,
        device: str = "auto",
    ) -> None:
        self._catalogue = catalogue
        self._radius = radius
        self._device = device
        self._model = model or catalogue.info.model
        self._encoder: Encoder | None = None
        self._survey = survey or catalogue.info.survey
        self._root = root

    def object(self, object_id: int) -> Query:
        """The question that a catalogued object is."""
        example = search.example(self._catalogue, object_id=object_id)
        return Query(str(object_id), example.vector, example.ra, example.dec, example.object_id)

    def position(self, at: Position) -> Query:
        """The object at a position, or that spot embedded now where there is none and its tile is under ``root``.

        Raises ``ScannerError`` ``query.no_object``, ``query.outside_coverage``, or what opening the tile raises.
        """
        try:
            example = search.example(self._catalogue, ra=at.ra, dec=at.dec, radius=self._radius)
        except ScannerError as error:
            if error.code not in NOT_CATALOGUED or self._root is None:
                raise
            log.info("%s Embedding the spot itself.", error.message)
            return self.spot(at)
        return Query(at.name, example.vector, example.ra, example.dec, example.object_id)

    def cutout(self, path: Path) -> Query:
        """A FITS cutout of the user's own as the question."""
        flux = stamps.from_fits(path, surveys.load(self._survey), WindowFrame(*self.encoder.contract.frame))
        return Query(path.name, self._embed(flux), flux=flux)

    def spot(self, at: Position) -> Query:
        """A position embedded now from its tile, whether or not an object is there; as ``position`` where it raises."""
        stamp = self.stamps().at(at.ra, at.dec)
        return Query(at.name, self._embed(stamp), at.ra, at.dec, flux=stamp)

    def stamps(self) -> stamps.Stamps:
        """The windows that the encoder sees; ``ScannerError`` ``query.no_root`` without a folder of images."""
        if self._root is None:
            hint = "Say with --root where the images of the tiles are."
            raise ScannerError(ErrorCode.QUERY_NO_ROOT, "Pixels are needed, and it is not known where they are.", hint)
        return stamps.of_catalogue(self._catalogue, self._root, self._survey)

    @property
    def at_hand(self) -> bool:
        """Whether it is known where the images of the tiles are."""
        return self._root is not None

    def _embed(self, flux: Flux) -> Vector:
        if not np.isfinite(flux).any():
            raise ScannerError(
                ErrorCode.QUERY_NO_PIXELS, "There is no pixel with data there.", "Ask for another position."
            )
        vector: Vector = self.encoder.embed(flux[None])[0]
        return vector

    @property
    def encoder(self) -> Encoder:
        """The encoder that made the catalogue; ``ScannerError`` ``catalogue.other_model`` and those of ``Encoder``."""
        if self._encoder is None:
            info = self._catalogue.info
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


def places(ra: float | None, dec: float | None, name: str | None, table: Path | None) -> Iterator[Position]:
    """The positions that were asked for: one, that of a name (looked up on-line by Sesame), those of a table.

    Raises ``ScannerError``: ``name.unresolved``, or what ``source_files.read_positions`` raises.
    """
    if ra is not None and dec is not None:
        yield Position(ra, dec, f"{ra:.5f} {dec:+.5f}")
    if name is not None:
        yield _resolved(name)
    if table is not None:
        read = source_files.read_positions(table)
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


def gather(
    asker: Asker, at: Iterable[Position], object_ids: Iterable[int], cutouts: Iterable[Path]
) -> tuple[list[Query], bool]:
    """Queries for all that was pointed at, and whether each gave one.

    One that cannot be asked is named in a warning and left out; the last error is raised if none is left.
    """
    asking: list[Callable[[], Query]] = [
        *(partial(asker.position, one) for one in at),
        *(partial(asker.object, one) for one in object_ids),
        *(partial(asker.cutout, one) for one in cutouts),
    ]
    queries, failed = [], []
    for question in asking:
        try:
            queries.append(question())
        except ScannerError as error:
            failed.append(error)
    for failure in failed if queries else failed[:-1]:
        log.warning("%s [%s]", failure.message, failure.code)
    if failed and not queries:
        raise failed[-1]
    return queries, not failed


def ask(
    catalogue: Catalogue,
    queries: Sequence[Query],
    k: int,
    where: str | None = None,
    near: tuple[float, float, float] | None = None,
) -> list[Table]:
    """The ``k`` objects most like each query, best first; an object is not its own neighbour.

    ``where`` (a filter) and ``near`` (ra, dec in degrees, radius in arcsec) restrict the answer.
    """
    return search.neighbours_of_many(
        catalogue,
        np.stack([query.vector for query in queries]),
        k,
        exclude=[query.object_id for query in queries],
        where=where,
        near=near,
    )


def joined(queries: Sequence[Query], answers: Sequence[Table]) -> Table:
    """One table of all answers; with more than one query a column ``query`` says whose each row is."""
    from astropy.table import vstack

    if len(answers) == 1:
        return answers[0]
    for query, answer in zip(queries, answers, strict=True):
        answer.add_column([query.name] * len(answer), name="query", index=0)
    return vstack(list(answers), metadata_conflicts="silent")


def told(query: Query) -> str:
    """A query in words."""
    if query.object_id is not None:
        return f"object {query.object_id} at {query.ra:.6f} {query.dec:+.6f}"
    if query.ra is not None:
        return f"the spot at {query.ra:.6f} {query.dec:+.6f}, which is no catalogued object"
    return f"the cutout {query.name}"
