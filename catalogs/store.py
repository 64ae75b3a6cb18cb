"""A catalogue on disk: a folder with one Parquet file a tile. The file is the receipt of the work it took.

``catalogue.json``            what every tile shares: survey, bands, model and its contract
``tiles/<tile>.parquet``      rows of one tile; the footer carries the digest of the run that made them
``failures/<tile>.json``      why a tile gave nothing
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalogs.atomic import locked, remove_stale, write_json
from catalogs.errors import ScannerError
from catalogs.schema import catalogue_schema
from catalogs.writer import RUN_KEY, TileWriter

DISTRIBUTION = "unions-scanner"
CATALOGUE_JSON = "catalogue.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Run:
    """What makes rows: two runs with one digest give the same rows.

    ``bands`` are the survey's, in the order of the flux columns; ``contract`` is the model's ``scanner.contract``;
    ``settings`` are JSON values (sources, min_snr, resample, precision, ...).
    """

    survey: str
    bands: tuple[str, ...]
    model: str
    model_sha256: str
    contract: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of everything but the model's name: the same file may lie elsewhere."""
        facts = {**self._facts(), "contract": dict(self.contract)}
        return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def receipt(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """What the footer of a tile says about the run that made it."""
        return {**self._facts(), "digest": self.digest, "extra": dict(extra)}

    def _facts(self) -> dict[str, Any]:
        return {
            "survey": self.survey,
            "bands": list(self.bands),
            "model_sha256": self.model_sha256,
            "settings": dict(self.settings),
        }


@dataclass(frozen=True)
class Info:
    """``catalogue.json``: what every tile of a catalogue shares. ``created`` is UTC, ISO 8601."""

    survey: str
    bands: tuple[str, ...]
    model: str
    model_sha256: str
    contract: Mapping[str, Any]
    software: str
    created: str

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return int(self.contract["embedding_dim"])


@dataclass(frozen=True)
class Failure:
    """Why a tile gave nothing; ``attempts`` counts the scans that failed on it."""

    tile: str
    code: str
    message: str
    hint: str
    attempts: int


class Catalogue:
    """A folder of tiles. Opening it reads one small JSON file; nothing holds more than a tile in memory."""

    def __init__(self, path: Path, info: Info) -> None:
        self.path = path
        self.info = info
        self.schema: pa.Schema = catalogue_schema(info.bands, info.dim)

    def __repr__(self) -> str:
        return f"<Catalogue {self.path}: {self.info.survey}, model {self.info.model}>"

    def tiles(self) -> list[str]:
        """Names of the tiles that have a file, sorted."""
        return sorted(path.stem for path in (self.path / "tiles").glob("[!.]*.parquet"))

    def tile_path(self, name: str) -> Path:
        """Where the rows of a tile are, or will be."""
        return self.path / "tiles" / f"{_checked(name)}.parquet"

    def done(self, tile: str, digest: str) -> bool:
        """Whether the tile's file is whole and was made by the run with this digest."""
        try:
            receipt = json.loads(pq.read_metadata(self.tile_path(tile)).metadata[RUN_KEY.encode()])
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
            return False
        return bool(receipt.get("digest") == digest)

    def writer(self, tile: str, run: Run, extra: Mapping[str, Any] | None = None) -> TileWriter:
        """A context manager that streams the tile's rows; ``extra`` are JSON values for the footer (no times)."""
        _same_model(self, run)
        return TileWriter(self.tile_path(tile), tile, self.schema, run.receipt(extra or {}))

    def record_failure(self, tile: str, code: str, message: str, hint: str = "") -> Failure:
        """Keep why a tile gave nothing; counts the attempts."""
        before = _failure(self._failure_path(tile))
        failure = Failure(tile, code, message, hint, attempts=before.attempts + 1 if before else 1)
        write_json(self._failure_path(tile), asdict(failure))
        return failure

    def clear_failure(self, tile: str) -> None:
        """Forget the failures of a tile that is well now."""
        self._failure_path(tile).unlink(missing_ok=True)

    def failures(self) -> list[Failure]:
        """Tiles that gave nothing, sorted by name."""
        found = (_failure(path) for path in sorted((self.path / "failures").glob("[!.]*.json")))
        return [failure for failure in found if failure]

    def _failure_path(self, tile: str) -> Path:
        return self.path / "failures" / f"{_checked(tile)}.json"


def create(path: Path | str, run: Run) -> Catalogue:
    """Make the catalogue's folder for a run, or open the one that is there.

    Raises ``ScannerError``: ``catalogue.other_model``, ``catalogue.other_survey`` (a catalogue never mixes two),
    ``catalogue.damaged``, ``output.full``, ``output.read_only``. Removes what killed runs left half-written.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ScannerError("catalogue.damaged", f"{folder} is a file, not a catalogue's folder.", "Give another --out.")
    with locked(folder / ".lock"):
        if (folder / CATALOGUE_JSON).exists():
            catalogue = open(folder)
            _same_model(catalogue, run)
        else:
            catalogue = Catalogue(folder, _info(run))
            write_json(folder / CATALOGUE_JSON, {**asdict(catalogue.info), "version": FORMAT_VERSION})
    for part in (folder, folder / "tiles", folder / "failures"):
        remove_stale(part)
    return catalogue


def open(path: Path | str) -> Catalogue:
    """Open a catalogue. Raises ``ScannerError`` ``catalogue.missing`` or ``catalogue.damaged``."""
    folder = Path(path)
    try:
        found = json.loads((folder / CATALOGUE_JSON).read_text(encoding="utf-8"))
        info = Info(**{name: found[name] for name in Info.__dataclass_fields__} | {"bands": tuple(found["bands"])})
        return Catalogue(folder, info)
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = "Make one with: scanner scan-tiles --tiles LIST --out CATALOGUE"
        raise ScannerError("catalogue.missing", f"There is no catalogue at {folder}.", hint) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ScannerError(
            "catalogue.damaged",
            f"{folder / CATALOGUE_JSON} cannot be read ({error!r}).",
            "Remove that one file and scan again with the same model: tiles that are done are kept.",
        ) from error


def _info(run: Run) -> Info:
    try:
        software = f"{DISTRIBUTION} {metadata.version(DISTRIBUTION)}"
    except metadata.PackageNotFoundError:
        software = DISTRIBUTION
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Info(run.survey, tuple(run.bands), run.model, run.model_sha256, dict(run.contract), software, created)


def _same_model(catalogue: Catalogue, run: Run) -> None:
    info = catalogue.info
    if info.model_sha256 != run.model_sha256:
        raise ScannerError(
            "catalogue.other_model",
            f"The catalogue {catalogue.path} was made with model {_model(info)}, this run uses {_model(run)}: "
            "their embeddings cannot be compared.",
            "Give another --out for this model, or the --model that the catalogue was made with.",
        )
    if (info.survey, info.bands) != (run.survey, tuple(run.bands)):
        raise ScannerError(
            "catalogue.other_survey",
            f"The catalogue {catalogue.path} holds {info.survey} ({','.join(info.bands)}), "
            f"this run is of {run.survey} ({','.join(run.bands)}).",
            "Give another --out for this survey.",
        )


def _model(of: Info | Run) -> str:
    return f"{of.model} (sha256 {of.model_sha256[:12]})"


def _checked(tile: str) -> str:
    if not tile or tile.startswith(".") or "/" in tile or "\\" in tile:
        raise ScannerError("tile.bad_name", f"{tile!r} cannot be the name of a tile.", "Names hold no slash.")
    return tile


def _failure(path: Path) -> Failure | None:
    try:
        return Failure(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
