"""A catalogue on disk: a folder with one Parquet file a tile, whose footer is the receipt of the run that made it.

``catalogue.json``            what every tile shares: survey, bands, model and its contract
``tiles/<tile>.parquet``      rows of one tile; the footer carries the digest of the run that made them
``failures/<tile>.json``      why a tile failed
``runtimes/<name>.json``      how well another runtime than the default agrees with it, by processor
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalogs.atomic import check_name, locked, output_errors, remove_stale, write_json
from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json, read_record
from catalogs.sky.geometry import Circle
from catalogs.sky.overlaps import OverlapOwners
from catalogs.store import footers, tile_checks
from catalogs.store.backend import Backend, Snapshot
from catalogs.store.footers import SUFFIX, Footer, Footers
from catalogs.store.provenance import DEFAULT_RUNTIME, DISTRIBUTION, Failure, Info, Run, software
from catalogs.store.schema import catalogue_schema
from catalogs.store.tile_checks import describe_error
from catalogs.store.tile_reader import Selection, TileFile
from catalogs.store.tile_writer import TileWriter
from catalogs.store.vectors import Vectors

log = logging.getLogger(__name__)

CATALOGUE_JSON = "catalogue.json"
FORMAT_VERSION = 2  # with columns of scores, or by another runtime than the default; all others are version 1


class TileStore:
    """A folder of tiles. To open it reads one small JSON file; nothing holds more than a tile in memory.

    Up to ``exact_numbers`` (rows times dimensions) a search compares all rows even where there is an index, unless it
    has a lower limit of its own.
    """

    exact_numbers: float = math.inf

    def __init__(self, path: Path, info: Info) -> None:
        self.path = path
        self.info = info
        self.schema: pa.Schema = catalogue_schema(info.bands, info.dim, info.scores)
        self._footers = Footers(path / "tiles", path / "index" / "footers.json", info, self.schema)

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a catalogue.

        Raises:
            ScannerError: ``catalogue.missing``, ``catalogue.damaged``, ``catalogue.newer_version``,
                ``catalogue.no_permission``.
        """
        folder = Path(path)
        file = folder / CATALOGUE_JSON
        try:
            values = load_json(file)
            _check_version(file, values)
            # Earlier versions wrote fewer keys, which have defaults; later ones may write more.
            values = {field.name: values[field.name] for field in fields(Info) if field.name in values}
            return cls(folder, read_record(values, Info))
        except (FileNotFoundError, NotADirectoryError) as error:
            hint = "Make one with: scanner scan-tiles --tiles LIST --out CATALOGUE"
            raise ScannerError(ErrorCode.CATALOGUE_MISSING, f"There is no catalogue at {folder}.", hint) from error
        except PermissionError as error:
            raise tile_checks.unreadable(file, error) from error
        except (OSError, ValueError) as error:
            raise ScannerError(
                ErrorCode.CATALOGUE_DAMAGED,
                f"{file} cannot be read: {describe_error(error)}.",
                "Remove that file and scan again with the same model: finished tiles are kept.",
            ) from error

    @classmethod
    def create(cls, path: Path | str, run: Run) -> Self:
        """Make the catalogue's folder for a run, or open the existing one, and remove files of runs that were killed.

        Raises:
            ScannerError: ``catalogue.other_model``, ``catalogue.other_survey``, ``catalogue.other_keep`` (a catalogue
                never mixes two), ``catalogue.damaged``, ``output.bad_name``, ``output.full``, ``output.read_only``.
        """
        folder = Path(path)
        check_name(folder)
        with output_errors(folder):
            is_file = folder.exists() and not folder.is_dir()
        if is_file:
            raise ScannerError(
                ErrorCode.CATALOGUE_DAMAGED,
                f"{folder} is a file, not the folder of a catalogue.",
                "Give another --out.",
            )
        # Several machines may start on a new catalogue at once; one of them writes its description.
        with locked(folder / ".lock"):
            if (folder / CATALOGUE_JSON).exists():
                catalogue = cls.open(folder)
                _check_run(catalogue, run)
            else:
                catalogue = cls(folder, Info.of(run))
                # Software that reads version 1 alone would mix the rows of two runtimes, and does not know scores.
                first = catalogue.info.scores is None and catalogue.info.runtime == DEFAULT_RUNTIME
                version = 1 if first else FORMAT_VERSION
                write_json(folder / CATALOGUE_JSON, {**asdict(catalogue.info), "version": version})
        catalogue.remove_stale()
        return catalogue

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path}: {self.info.survey}, model {self.info.model}>"

    def remove_stale(self) -> None:
        """Remove what killed processes left half-written; files of running ones are locked, and kept."""
        for part in (".", "tiles", "failures", "index", "runtimes"):
            remove_stale(self.path / part)

    def tiles(self) -> list[str]:
        """List the names of the tiles that have a file, sorted."""
        return sorted(path.stem for path in (self.path / "tiles").glob(f"[!.]*{SUFFIX}"))

    def tile_path(self, name: str) -> Path:
        """Return the path of a tile's file, which need not exist yet."""
        return self.path / "tiles" / f"{_checked_name(name)}{SUFFIX}"

    def done(self, tile: str, digest: str, verify: bool = False) -> bool:
        """Whether the tile's file is whole and was made by the run with this digest; with ``verify`` all is read.

        Raises:
            ScannerError: ``tile.damaged`` where a folder is in the place of the file, so that none can be written.
        """
        path = self.tile_path(tile)
        try:
            if footers.read(path, self.info, self.schema).digest != digest:
                return False
            if verify:
                with self.open_tile(tile) as file:
                    file.verify()
        except ScannerError:
            if path.is_dir():
                raise
            # A tile without a whole file is scanned again.
            return False
        return True

    def writer(self, tile: str, run: Run, extra: Mapping[str, Any] | None = None) -> TileWriter:
        """Make a context manager that writes the tile's rows; ``extra`` are JSON values for the footer (no times)."""
        _check_run(self, run)
        return TileWriter(self.tile_path(tile), tile, self.schema, run.receipt(extra or {}))

    def record_failure(self, tile: str, code: str, message: str, hint: str = "") -> Failure:
        """Record why a tile failed, and count the attempts."""
        before = _read_failure(self._failure_path(tile))
        failure = Failure(tile, code, message, hint, attempts=before.attempts + 1 if before else 1)
        write_json(self._failure_path(tile), asdict(failure), clear=False)
        return failure

    def clear_failure(self, tile: str) -> None:
        """Remove the record of a tile that no longer fails."""
        self._failure_path(tile).unlink(missing_ok=True)

    def failures(self) -> list[Failure]:
        """List the tiles that failed, sorted by name. A record that cannot be read is named in a warning."""
        records = (_read_failure(path) for path in sorted((self.path / "failures").glob("[!.]*.json")))
        return [failure for failure in records if failure]

    def rows(self, tile: str) -> int:
        """Count the objects of a tile, from its footer.

        Raises:
            ScannerError: ``tile.damaged``.
        """
        return footers.read(self.tile_path(tile), self.info, self.schema).rows

    def open_tile(self, tile: str) -> TileFile:
        """Open a tile's file.

        Raises:
            ScannerError: ``tile.damaged``.
        """
        return TileFile(self.tile_path(tile), self.schema)

    def unchanged(self, footer: Footer) -> bool:
        """Whether a tile's file is still the one that was listed."""
        try:
            return footer.unchanged(self.tile_path(footer.tile).stat())
        except OSError:
            return False

    def records(self, snapshot: Snapshot, footer: Footer, columns: Sequence[str]) -> NDArray[np.void] | None:
        """Keep nothing in memory."""
        return None

    def propose(self, directions: Vectors, selection: Selection, count: int) -> None:
        """Propose nothing: the index of a folder is that of ``catalogs.index``, which the search asks itself."""

    def footers(self, near: Circle | None = None) -> list[Footer]:
        """List what the tiles' footers say, sorted by tile; only those whose rows may lie in ``near``."""
        return [f for f in self._footers.all()[0] if near is None or (f.circle is not None and f.circle.touches(near))]

    def snapshot(self) -> Snapshot:
        """List the tiles once, for all steps of a question. Damaged tiles are skipped with a warning.

        Raises:
            ScannerError: ``catalogue.no_permission``, ``catalogue.damaged``.
        """
        current, errors = self._footers.all()
        owners = OverlapOwners(tuple(footer.tile for footer in current)) if self.info.grid is not None else None
        return Snapshot(self, current, owners, errors)

    def _failure_path(self, tile: str) -> Path:
        return self.path / "failures" / f"{_checked_name(tile)}.json"


def need_folder(catalogue: Backend) -> TileStore:
    """Return the catalogue as a folder of tiles.

    Raises:
        ScannerError: ``lance.not_supported`` where it is a dataset of another format.
    """
    if isinstance(catalogue, TileStore):
        return catalogue
    message = f"{catalogue.path} is a Lance dataset, which holds neither maps nor an index of Annoy or faiss."
    raise ScannerError(ErrorCode.LANCE_NOT_SUPPORTED, message, "Give the folder of the catalogue it was exported from.")


def _check_version(file: Path, values: Any) -> None:
    if not isinstance(values, dict):
        raise ValueError("it is not a table")
    version = values.get("version", 1)
    if type(version) is not int or version < 1:
        raise ValueError(f"version must be a whole number from 1, not {version!r}")
    if version > FORMAT_VERSION:
        raise ScannerError(
            ErrorCode.CATALOGUE_NEWER_VERSION,
            f"{file} has format version {version}, written by {values.get('software', 'later software')}; "
            f"{software()} reads versions up to {FORMAT_VERSION}.",
            f"Install that version of {DISTRIBUTION}, or a later one.",
        )


def _check_run(catalogue: TileStore, run: Run) -> None:
    info = catalogue.info
    if (info.model_sha256, info.runtime, info.precision) != (run.model_sha256, run.runtime, run.precision):
        raise ScannerError(
            ErrorCode.CATALOGUE_OTHER_MODEL,
            f"The catalogue {catalogue.path} was made with model {_describe_model(info)}, this run uses "
            f"{_describe_model(run)}: their embeddings cannot be compared.",
            "Give another --out for this model, or the --model, --runtime and --precision of the catalogue.",
        )
    if (info.survey, info.bands) != (run.survey, tuple(run.bands)):
        raise ScannerError(
            ErrorCode.CATALOGUE_OTHER_SURVEY,
            f"The catalogue {catalogue.path} holds {info.survey} ({','.join(info.bands)}), "
            f"this run is of {run.survey} ({','.join(run.bands)}).",
            "Give another --out for this survey.",
        )
    if info.keep != run.settings.get("keep"):
        raise ScannerError(
            ErrorCode.CATALOGUE_OTHER_KEEP,
            f"The catalogue {catalogue.path} holds {_describe_keep(info.keep)}, this run keeps "
            f"{_describe_keep(run.settings.get('keep'))}: a row that is missing would mean different things.",
            "Give another --out for this run, or the --keep and --like that the catalogue was made with.",
        )


def _describe_keep(keep: Mapping[str, Any] | None) -> str:
    if keep is None:
        return "all rows"
    return f"the best {keep.get('best')} rows of each tile (like {str(keep.get('like'))[:12]})"


def _describe_model(of: Info | Run) -> str:
    runtime = "" if of.runtime == DEFAULT_RUNTIME else f" by {of.runtime}"
    return f"{of.model} ({of.precision}{runtime}, sha256 {of.model_sha256[:12]})"


def _checked_name(tile: str) -> str:
    # The name becomes that of a file inside the catalogue; names with a leading dot are temporaries.
    if not tile or tile.startswith(".") or "/" in tile or "\\" in tile:
        hint = "Names of tiles have no slash and do not start with a dot."
        raise ScannerError(ErrorCode.TILE_BAD_NAME, f"{tile!r} cannot be the name of a tile.", hint)
    return tile


def _read_failure(path: Path) -> Failure | None:
    try:
        return read_record(load_json(path), Failure)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read: %s. The next scan of the tile replaces it.", path, describe_error(error))
        return None
