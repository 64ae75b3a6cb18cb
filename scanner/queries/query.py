"""Queries: from positions, objects and cutouts to the most similar objects of a catalogue."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from catalogs.errors import ErrorCode, ScannerError
from catalogs.search import neighbours
from catalogs.search.examples import Example, Unmatched
from catalogs.search.matching import MATCH_RADIUS, match_each, match_one, unmatched_error
from catalogs.sky import geometry
from catalogs.store.backend import Snapshot
from scanner.sources import position_files
from scanner.survey.survey import Survey, load

if TYPE_CHECKING:
    from astropy.table import Table

    from scanner.encoder.encoder import Encoder
    from scanner.windows.by_position import WindowReader

Flux = npt.NDArray[np.float32]
# Reasons for which the spot itself may be embedded instead.
NOT_CATALOGUED = {ErrorCode.QUERY_NO_OBJECT, ErrorCode.QUERY_OUTSIDE_COVERAGE, ErrorCode.QUERY_NO_EMBEDDING}

NO_CUTOUT = frozenset(
    {
        ErrorCode.POSITION_OFF_SKY,
        ErrorCode.QUERY_NO_GRID,
        ErrorCode.QUERY_NO_PIXELS,
        ErrorCode.QUERY_OUTSIDE_COVERAGE,
        ErrorCode.TILE_ALL_NAN,
        ErrorCode.TILE_BAD_HEADER,
        ErrorCode.TILE_BAD_NAME,
        ErrorCode.TILE_BANDS_ELSEWHERE,
        ErrorCode.TILE_CHANGED,
        ErrorCode.TILE_ELSEWHERE,
        ErrorCode.TILE_MISSING_FILE,
        ErrorCode.TILE_NO_IMAGE_HDU,
        ErrorCode.TILE_NO_WCS,
        ErrorCode.TILE_NOT_FITS,
        ErrorCode.TILE_OFF_GRID,
        ErrorCode.TILE_PIXEL_SCALE,
        ErrorCode.TILE_SHAPE_MISMATCH,
        ErrorCode.TILE_TOO_LARGE,
        ErrorCode.TILE_TRUNCATED,
        ErrorCode.TILE_UNKNOWN_UNIT,
        ErrorCode.TILE_UNREADABLE,
        ErrorCode.TILE_ZERO_POINT,
    }
)
"""Errors of one position, or of the images of its tile, that leave the other positions of a list usable."""

Mix = Literal["mean", "nearest"]
MIXES: tuple[Mix, ...] = get_args(Mix)
_PIECES = 8  # rows that one example may take: itself, its copies in other tiles, its pieces

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Position:
    """A position to search by: ``ra``, ``dec`` in degrees (ICRS), and what the user calls it."""

    ra: float
    dec: float
    name: str = ""


class QueryBuilder:
    """Makes examples of what a user points at; the encoder is opened only if a spot or a cutout needs it.

    ``root`` is the folder of the tiles' images (None: there are none); ``survey`` names their files. ``model`` is the
    encoder, by default that of the catalogue. ``radius`` is the largest distance of an object from its position, in
    arcsec.
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
        self._opened: list[Encoder] = []
        self._opening = threading.Lock()
        self._survey = survey or info.survey
        self._root = root

    def of(self, snapshot: Snapshot) -> QueryBuilder:
        """The same builder, with its open encoder, for another snapshot of the catalogue."""
        other = copy.copy(self)
        other.snapshot = snapshot
        return other

    def gather(
        self, at: Sequence[Position], object_ids: Iterable[int], cutouts: Iterable[Path]
    ) -> tuple[list[Example], bool]:
        """Make examples of positions, objects and cutouts; also tell whether each gave one.

        A position without an object is embedded from its tile, if that is under ``root``. Whatever gives no example is
        skipped with a warning.

        Raises:
            ScannerError: The last error, if nothing gave an example.
        """
        # All positions are matched together, so that each tile is read once.
        names = [position.name for position in at]
        matches = match_each(self.snapshot, [one.ra for one in at], [one.dec for one in at], self.radius, names)
        # Attempts run one by one, so that a failure of one leaves the others.
        attempts: list[Callable[[], Example]] = [
            *(partial(self._object_or_spot, position, match) for position, match in zip(at, matches, strict=True)),
            *(partial(match_one, self.snapshot, object_id=one) for one in object_ids),
            *(partial(self.cutout, one) for one in cutouts),
        ]
        examples, failures = [], []
        for attempt in attempts:
            try:
                examples.append(attempt())
            except ScannerError as error:
                failures.append(error)
        # The last error is raised where nothing gave an example, so it is not logged as well.
        for failure in failures if examples else failures[:-1]:
            log.warning("%s [%s]", failure.message, failure.code)
        if failures and not examples:
            raise failures[-1]
        return examples, not failures

    def _object_or_spot(self, at: Position, match: Example | Unmatched) -> Example:
        if isinstance(match, Example):
            return match
        error = unmatched_error(self.snapshot, match, self.radius)
        if match.code not in NOT_CATALOGUED or self._root is None:
            raise error
        # The user learns that the query is not an object of the catalogue.
        log.info("%s Embedding the spot itself.", error.message)
        return self.spot(at)

    def cutout(self, path: Path) -> Example:
        """Embed a FITS cutout of the user."""
        from scanner.windows import by_position
        from scanner.windows.frame import WindowFrame

        pixels = by_position.read_cutout(path, self.survey, WindowFrame(*self.encoder.contract.frame))
        return self.embed(path.name, pixels)

    def spot(self, at: Position) -> Example:
        """Embed a position from its tile, whether or not an object is there.

        Raises:
            ScannerError: A code of ``NO_CUTOUT``, ``query.no_root``, or one of the encoder.
        """
        pixels = self.windows().at(at.ra, at.dec)
        return replace(self.embed(at.name, pixels), ra=at.ra, dec=at.dec)

    def windows(self) -> WindowReader:
        """Make the reader of the cutouts that the encoder sees.

        Raises:
            ScannerError: ``query.no_root`` without a folder of images.
        """
        from scanner.windows import by_position

        if self._root is None:
            hint = "Give the folder of the images with --root."
            raise ScannerError(ErrorCode.QUERY_NO_ROOT, "The search needs pixels, but has no folder of images.", hint)
        return by_position.WindowReader.of_catalogue(self.snapshot.catalogue, self._root, self._survey)

    @property
    def has_images(self) -> bool:
        """Whether there is a folder of images."""
        return self._root is not None

    @property
    def survey(self) -> Survey:
        """The survey of the images."""
        return load(self._survey)

    def embed(self, name: str, pixels: Flux) -> Example:
        """Embed a cutout [B, S, S] in nJy, and call it by a name.

        Raises:
            ScannerError: ``query.no_pixels``, or one of the encoder.
        """
        if not np.isfinite(pixels).any():
            raise ScannerError(ErrorCode.QUERY_NO_PIXELS, "The cutout has no data.", "Give another position.")
        (vector,), (scores,) = self.encoder.encode(pixels[None])
        # The lens is the first of the scores, where the model gives any.
        return Example(name, vector, score=float(scores[0]) if len(scores) else np.nan, pixels=pixels)

    @property
    def encoder(self) -> Encoder:
        """The encoder that made the catalogue, opened once.

        Raises:
            ScannerError: ``catalogue.other_model``, ``model.*``, ``device.*``.
        """
        with self._opening:
            if not self._opened:
                # Imported here: most questions need no pixels.
                from scanner.queries.catalogue_encoder import open_encoder

                self._opened.append(open_encoder(self.snapshot.catalogue, self._model, self._device))
            return self._opened[0]


def collect_positions(ra: float | None, dec: float | None, name: str | None, table: Path | None) -> Iterator[Position]:
    """Yield a position, that of a name (looked up on-line by Sesame), and those of a table.

    Raises:
        ScannerError: ``name.unresolved``, ``sources.*``.
    """
    if ra is not None and dec is not None:
        yield Position(ra, dec, f"{ra:.5f} {dec:+.5f}")
    if name is not None:
        from astropy.coordinates import SkyCoord
        from astropy.coordinates.name_resolve import NameResolveError

        try:
            resolved = SkyCoord.from_name(name, parse=True)
        except NameResolveError as error:
            hint = "Check the spelling and the network, or give a position: --ra and --dec."
            raise ScannerError(ErrorCode.NAME_UNRESOLVED, f"The name {name!r} cannot be resolved.", hint) from error
        yield Position(float(resolved.ra.deg), float(resolved.dec.deg), name)
    if table is not None:
        yield from read_table(table)


def read_table(path: Path, label: str | None = None) -> Iterator[Position]:
    """Yield the positions of a table, each called by its row, from 1; only rows with ``label`` in the column ``label``.

    Raises:
        ScannerError: ``sources.*``.
    """
    table = position_files.read_positions(path, None if label is None else "label")
    if not table.on_sky:
        message = f"{path} has no sky positions."
        raise ScannerError(ErrorCode.SOURCES_NO_POSITIONS, message, "Name its columns ra and dec.")
    if label is not None and not (table.words == label).any():
        hint = f"Its labels are {', '.join(sorted(set(table.words))[:20])}."
        raise ScannerError(ErrorCode.SOURCES_NO_LABEL, f"No row of {path} has the label {label!r}.", hint)
    for number, (ra, dec) in enumerate(zip(table.first.tolist(), table.second.tolist(), strict=True), 1):
        if label is None or table.words[number - 1] == label:
            yield Position(ra, dec, str(number))


def ask(
    snapshot: Snapshot,
    examples: Sequence[Example],
    k: int,
    where: str | None = None,
    near: tuple[float, float, float] | None = None,
) -> list[Table]:
    """Find the ``k`` objects most like each example, best first; an object is not its own neighbour.

    ``where`` (a filter) and ``near`` (ra, dec in degrees, radius in arcsec) restrict the answer.
    """
    return neighbours.neighbours_of_many(
        snapshot,
        # Vectors [Q, D], one row for each example.
        np.stack([example.vector for example in examples]),
        k,
        exclude=[neighbours.around(example) for example in examples],
        where=where,
        near=near,
    )


def ask_together(
    snapshot: Snapshot,
    examples: Sequence[Example],
    k: int,
    mix: Mix = "mean",
    where: str | None = None,
    near: tuple[float, float, float] | None = None,
    columns: Sequence[str] | None = None,
) -> Table:
    """Find the ``k`` objects most like all examples together; none of the examples is among them.

    ``columns`` are all but the embedding by default; ``object_id``, ``ra``, ``dec`` and ``tile`` must be among them.

    ``mean`` compares with the mean of the vectors, which is what the examples have in common; ``nearest`` with the most
    similar example, which the column ``nearest_example`` names. ``similarity`` is that cosine.
    """
    from astropy.table import Column, vstack

    vectors = np.stack([example.vector for example in examples])
    directions = vectors.mean(axis=0, keepdims=True) if mix == "mean" else vectors
    circles = [circle for circle in map(neighbours.around, examples) if circle is not None]
    # Each example, its copies and its pieces may be among the answers, and drop out below. Where more rows than these
    # lie around an example, as on a grid, the search is repeated for more.
    wanted = k + _PIECES * len(examples)
    while True:
        answers = neighbours.neighbours_of_many(snapshot, directions, wanted, where=where, near=near, columns=columns)
        exhausted = all(len(answer) < wanted for answer in answers)
        for answer, example in zip(answers, examples, strict=False):
            answer.add_column(
                Column([example.name] * len(answer), "nearest_example", description="The example that is most similar"),
                index=2,
            )
        joined = answers[0]
        if len(answers) > 1:
            joined = vstack(answers, metadata_conflicts="silent")
            joined = joined[np.lexsort((joined["object_id"], -joined["similarity"]))]
        ra, dec, tile = (np.asarray(joined[name]) for name in ("ra", "dec", "tile"))
        dropped = np.zeros(len(joined), bool)
        # Best first: of an object that several answers or several tiles hold, the later copies drop out.
        for better, worse in geometry.close_pairs(ra, dec, geometry.SAME_OBJECT):
            same = joined["object_id"][better] == joined["object_id"][worse] or tile[better] != tile[worse]
            dropped[worse] |= same and not dropped[better]
        for circle in circles:
            dropped |= circle.contains(ra, dec)
        kept = np.flatnonzero(~dropped)
        if len(kept) >= k or exhausted:
            break
        wanted *= 8
    joined = joined[kept[:k]]
    joined["rank"] = np.arange(1, len(joined) + 1)
    if mix == "mean":
        joined.remove_column("nearest_example")
    joined.meta = {key: sum(answer.meta[key] for answer in answers) for key in ("rows_exact", "rows_indexed")}
    return joined


def join_answers(examples: Sequence[Example], answers: Sequence[Table]) -> Table:
    """Join all answers in one table; if there are several, the column ``query`` names the example of each row."""
    from astropy.table import vstack

    if len(answers) == 1:
        return answers[0]
    for example, answer in zip(examples, answers, strict=True):
        answer.add_column([example.name] * len(answer), name="query", index=0)
    # The metadata count compared rows and differ between answers, which needs no warning.
    return vstack(list(answers), metadata_conflicts="silent")


def describe_query(example: Example) -> str:
    """Describe an example in words."""
    if example.object_id is not None:
        return f"object {example.object_id} at {example.ra:.6f} {example.dec:+.6f}"
    if example.ra is not None:
        return f"the spot at {example.ra:.6f} {example.dec:+.6f}, which is no catalogued object"
    return f"the cutout {example.name}"
