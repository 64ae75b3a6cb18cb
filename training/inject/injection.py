"""An injection: lenses painted into the tiles of a list, tile by tile, each finished by its part of the truth."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from catalogs import atomic, parallel
from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json
from catalogs.sky.crossmatch import Places
from scanner.images import band as bands
from scanner.images.tile_images import open_tile
from scanner.sources import DETECTION_VERSION
from scanner.survey.bands import BANDS
from scanner.survey.survey import Survey
from scanner.survey.tile import Tile
from training.inject import truth
from training.inject.band_file import write_band
from training.inject.light import Light
from training.inject.tile import NOWHERE, Choice, paint_tile

VERSION = 4
"""Raise it when the same choice gives other lenses than before: tiles of older versions are then painted again."""
SETTINGS = "injection.json"
PARTS = "truth"
"""Folder with the truth of each tile, which is written after the files of the tile."""
LIST = "list.txt"


@dataclass(frozen=True)
class TileJob:
    """One tile to paint. Its fields hold all that its files depend on."""

    survey: Survey
    tile: Tile
    choice: Choice
    folder: Path
    known: Places = NOWHERE

    @property
    def bands(self) -> list[str]:
        """Bands of the tile in which lenses are painted; others are left out."""
        return [band for band in self.survey.band_names if band in BANDS and band in self.tile.files]

    @property
    def part(self) -> Path:
        return self.folder / PARTS / f"{self.tile.name}.json"

    def digest(self) -> str:
        """Compute the SHA-256 of the job. Names, sizes and times stand for the files."""
        files = [path for band in self.bands for path in self._files(band) if path.exists()]
        stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        content = [VERSION, DETECTION_VERSION, self.survey.digest, self.tile.name, asdict(self.choice), stats]
        content.append(_digest(self.known))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _files(self, band: str) -> list[Path]:
        return bands.files(self.survey.band(band), self.tile.files[band])


def inject(
    tiles: Sequence[Tile],
    survey: Survey,
    choice: Choice,
    folder: Path,
    known: Places = NOWHERE,
    workers: int = 1,
    tell: Callable[[str], None] = lambda _: None,
) -> Path:
    """Paint lenses into every tile that is not finished, in ``workers`` processes; returns the truth table's path.

    Galaxies at the places of ``known`` lenses are no hosts. After an interruption the same call resumes. Truth and list
    are written last, for all tiles of the folder.

    Raises:
        ScannerError: ``inject.*``, the problem of a tile, or as ``open_tile`` does.
    """
    _check(tiles, survey, folder)
    with atomic.locked(folder / ".injection.lock", temporary=True):
        _claim(folder, choice, survey, known)
    for where in (folder, folder / PARTS):
        atomic.remove_stale(where)
    jobs = [TileJob(survey, tile, choice, folder, known) for tile in tiles]
    if any(_read_part(job) is None for job in jobs):
        # A folder with a truth table is finished.
        for name in ("truth.csv", "truth.ecsv", LIST):
            (folder / name).unlink(missing_ok=True)
    hint = "Run the same command again with fewer --workers: finished tiles are kept."
    died = ScannerError(ErrorCode.INJECT_WORKER, "A process was killed, most likely for lack of memory.", hint)
    works = [partial(inject_tile, job) for job in jobs]
    for report in parallel.each(works, workers if workers > 1 else None, folder, died):
        tell(report)
    parts = {path.stem: load_json(path) for path in sorted((folder / PARTS).glob("*.json"))}
    atomic.write_text(folder / LIST, "".join(f"{part['tile']}\n" for part in parts.values()))
    return truth.write(folder, [row for part in parts.values() for row in part["rows"]])


def inject_tile(job: TileJob) -> str:
    """Paint lenses into one tile unless it is finished; returns a line for people."""
    if (part := _read_part(job)) is not None:
        return f"{part['tile']}: {len(part['rows'])} lenses, finished before"
    digest = job.digest()
    # The truth of other files must not stand beside those that are written now.
    job.part.unlink(missing_ok=True)
    images = open_tile(job.survey, job.tile, job.bands)
    painted = paint_tile(images, job.choice, job.known)
    files = []
    for number, band in enumerate(job.bands):
        light = Light(painted.stamps[band], images.flux[number])
        files += write_band(
            job.survey.band(band),
            job.tile.files[band],
            job.folder,
            light,
            painted.gain[band],
            len(painted.rows),
            job.choice.seed,
        )
    rows = [{name: None if value != value else value for name, value in row.items()} for row in painted.rows]
    content = {"tile": job.tile.name, "digest": digest, "files": [path.name for path in files], "rows": rows}
    atomic.write_json(job.part, content)
    few = f" of {painted.wanted}: only {painted.hosts} plausible hosts" if len(rows) < painted.wanted else ""
    return f"{job.tile.name}: {len(rows)} lenses{few}"


def _digest(places: Places) -> str:
    return hashlib.sha256(places.ra.tobytes() + places.dec.tobytes()).hexdigest()


def _read_part(job: TileJob) -> dict[str, Any] | None:
    """Read the truth of a tile that is finished: by this choice, of these files, and with all of its own."""
    try:
        part: dict[str, Any] = load_json(job.part)
        is_finished = part["digest"] == job.digest() and all((job.folder / name).is_file() for name in part["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return part if is_finished else None


def _check(tiles: Sequence[Tile], survey: Survey, folder: Path) -> None:
    if not set(survey.band_names) & set(BANDS):
        message = (
            f"Survey {survey.name} has none of the bands {', '.join(BANDS)}; its bands: {', '.join(survey.band_names)}."
        )
        raise ScannerError(ErrorCode.INJECT_BAND, message, "Lenses have magnitudes in these bands only.")
    for tile in tiles:
        if tile.problem is not None:
            raise tile.problem
        if any(path.parent.resolve() == folder.resolve() for path in tile.files.values()):
            message = f"{folder} holds files of tile {tile.name} itself."
            raise ScannerError(ErrorCode.INJECT_FOREIGN, message, "Give another folder to --out.")


def _claim(folder: Path, choice: Choice, survey: Survey, known: Places) -> None:
    """Mark an empty folder as that of an injection, or check that it is one with the same settings."""
    limits = [low if math.isfinite(low) else None for low in choice.theta_e]
    settings = {**asdict(choice), "theta_e": limits, "survey": survey.name, "survey_digest": survey.digest}
    settings["known_lenses"] = _digest(known)
    path = folder / SETTINGS
    try:
        found = load_json(path)
    except FileNotFoundError:
        others = [one.name for one in folder.iterdir() if not one.name.startswith(".")]
        if others:
            message = f"{folder} holds {others[0]}, which no injection has written."
            raise ScannerError(ErrorCode.INJECT_FOREIGN, message, "Give an empty folder to --out.") from None
        atomic.write_json(path, settings)
        return
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read: {error}."
        raise ScannerError(ErrorCode.INJECT_FOREIGN, message, "Give an empty folder to --out.") from error
    if found != settings:
        different = next(
            (key for key in settings if not isinstance(found, dict) or found.get(key) != settings[key]), ""
        )
        message = f"{folder} holds an injection with another {different}."
        raise ScannerError(ErrorCode.INJECT_OTHER_SETTINGS, message, "Give another folder, or the same options.")
