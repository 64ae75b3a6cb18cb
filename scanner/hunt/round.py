"""A round of a hunt: a list of objects with their columns and the cutouts of each, which are cut once and kept.

``objects.parquet``   the list, in its order, with the columns of the catalogue
``round.json``        its title, and where the list comes from
``windows.npy``       float16 [N, B, S, S]: fluxes in nJy divided by ``scales``
``scales.npy``        float32 [N, B]: powers of two
``states.npy``        uint8 [N]: 0 not cut yet, 1 cut, 2 without pixels
``wide.sqlite``       colour pictures of the wide field
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from catalogs.atomic import output_errors, write_json
from catalogs.errors import ErrorCode, ScannerError
from catalogs.records import load_json, read_record
from catalogs.store.tile_checks import describe_error
from scanner.windows.frame import WindowFrame

if TYPE_CHECKING:
    from astropy.table import Table

    from scanner.windows.by_position import Flux

WAITING, CUT, NO_PIXELS = 0, 1, 2
WIDE = 3
"""Side of the wide field, in cutouts."""
_AT_ONCE = 16  # cutouts between two syncs
FILES = ("round.json", "objects.parquet", "windows.npy", "scales.npy", "states.npy", "wide.sqlite")
REQUIRED = ("object_id", "tile", "ra", "dec")

_LONG_AGO = 3600
"""Seconds after which the folder of a round that is being made belongs to a process that was killed."""

Cut = Callable[[str, float, float], "tuple[Flux, bytes] | None"]
"""Cuts an object of a tile, by its position in degrees: its window [B, S, S] and the picture of its wide field.

None where there are no pixels. A ``ScannerError`` where they cannot be read, such as from a disk that is not mounted.
"""


@dataclass(frozen=True)
class RoundRecord:
    """``round.json``: the title, where the list comes from, and the frame of the cutouts.

    A list whose objects are known to be lenses or not is a test of inspectors: ``truth`` is ``lens`` or ``dud``.
    ``painted`` says that the pixels are not those of the sky, so that a verdict is not one about the object there.
    """

    title: str
    source: str
    bands: tuple[str, ...]
    window: int
    pixel_scale: float
    model_sha256: str
    created: str
    truth: str = ""
    painted: bool = False


class Round:
    """A round in its folder; ``number`` is its name."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, int(folder.name)
        try:
            refuse_links(folder, FILES)
            self.record = read_record(load_json(folder / "round.json"), RoundRecord)
            self.objects = pq.read_table(folder / "objects.parquet")
            # Columns as arrays, since every request reads a few places of them.
            self.place = {name: self.objects.column(name).to_numpy(zero_copy_only=False) for name in REQUIRED}
            self._windows, self._scales, self._states = self._arrays("r")
            self._unread = np.zeros(len(self), bool)
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            hint = "Copy the project again, or make the round anew."
            message = f"The round {folder} cannot be read: {describe_error(error)}."
            raise ScannerError(ErrorCode.HUNT_DAMAGED, message, hint) from error

    def __len__(self) -> int:
        return int(self.objects.num_rows)

    @property
    def frame(self) -> WindowFrame:
        """The frame of the cutouts."""
        return WindowFrame(self.record.bands, self.record.window, self.record.pixel_scale)

    @property
    def states(self) -> NDArray[np.uint8]:
        """What there is of each object [N]: ``WAITING``, ``CUT`` or ``NO_PIXELS``.

        What could not be read has no pixels until this process cuts again.
        """
        states = np.array(self._states)
        states[self._unread & (states == WAITING)] = NO_PIXELS
        return states

    def is_settled(self, numbers: NDArray[np.int64]) -> bool:
        """Whether the cutouts of these objects stay as they are: none is still to be cut."""
        return bool((self._states[numbers] != WAITING).all())

    def rows(self, numbers: NDArray[np.int64]) -> list[dict[str, Any]]:
        """The columns of objects by their numbers, as Python's own values; None where there is none."""
        table = self.objects.take(pa.array(numbers))
        columns = [_values(column) for column in table.columns]
        return [dict(zip(table.column_names, values, strict=True)) for values in zip(*columns, strict=True)]

    def window(self, numbers: NDArray[np.int64]) -> bytes:
        """Pack cutouts by their numbers: for each float32 scales [B], then float16 [B, S, S]; NaN is no data."""
        parts = []
        for number in numbers:
            there = self._states[number] == CUT
            scale = self._scales[number] if there else np.ones(len(self.record.bands), np.float32)
            window = self._windows[number] if there else np.full(self._windows.shape[1:], np.nan, np.float16)
            parts += [scale.astype("<f4").tobytes(), window.astype("<f2").tobytes()]
        return b"".join(parts)

    def flux(self, number: int) -> Flux | None:
        """The cutout float32 [B, S, S] of an object in nJy, with the ten bits of float16; None where there is none."""
        if self._states[number] != CUT:
            return None
        cutout: Flux = self._windows[number].astype(np.float32) * self._scales[number][:, None, None]
        return cutout

    def wide(self, number: int) -> bytes | None:
        """The picture of the wide field of an object, as WebP; None where there is none."""
        with self._pictures() as pictures:
            row = pictures.execute("SELECT picture FROM wide WHERE number = ?", (int(number),)).fetchone()
        return None if row is None else bytes(row[0])

    @contextlib.contextmanager
    def _pictures(self) -> Iterator[sqlite3.Connection]:
        path = self.folder / "wide.sqlite"
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=30)) as pictures:
                yield pictures
        except sqlite3.OperationalError as error:
            hint = "Make room on the disk, check its permissions, or wait for another process that cuts this round."
            raise ScannerError(ErrorCode.HUNT_NOT_SAVED, f"{path} cannot be used: {error}.", hint) from error
        except sqlite3.DatabaseError as error:
            message = f"{path} is damaged: {error}."
            raise ScannerError(
                ErrorCode.HUNT_DAMAGED, message, "Copy the project again, or make the round anew."
            ) from error

    def order(self, seed: int) -> NDArray[np.int64]:
        """The numbers of the objects in the order of a seed; 0 is that of the list."""
        return np.random.default_rng(seed).permutation(len(self)) if seed else np.arange(len(self))

    def cut(
        self,
        cut: Cut,
        wanted: Callable[[], NDArray[np.int64]] = lambda: np.zeros(0, np.int64),
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[int]:
        """Cut what is not cut yet, and yield how many are done; what was cut before is kept.

        It goes tile by tile, but takes the numbers that are ``wanted`` at the moment first. What cannot be read is left
        for the next run.

        Raises:
            ScannerError: ``hunt.not_saved``, ``hunt.damaged``, ``output.*``.
        """
        with output_errors(self.folder):
            windows, scales, states = self._arrays("r+")
        by_tile = np.argsort(self.place["tile"], kind="stable")
        self._unread = unread = np.zeros(len(self), bool)
        with self._pictures() as pictures:
            while (left := (states == WAITING) & ~unread).any() and not stopped():
                first = wanted()
                # Those of one tile follow each other here too: to open a tile takes as long as some cutouts.
                first = first[np.argsort(self.place["tile"][first], kind="stable")]
                numbers = np.concatenate([first[left[first]], by_tile[left[by_tile]]])
                # Numbers that are wanted are in both lists, and each is cut once.
                numbers = np.array(list(dict.fromkeys(numbers[: 2 * _AT_ONCE].tolist()))[:_AT_ONCE])
                reached = np.full(len(numbers), CUT, np.uint8)
                wide = []
                for at, number in enumerate(numbers):
                    try:
                        made = cut(*(self.place[name][number] for name in ("tile", "ra", "dec")))
                    except ScannerError:
                        reached[at], unread[number] = WAITING, True
                        continue
                    if made is None:
                        reached[at] = NO_PIXELS
                    else:
                        windows[number], scales[number] = pack(made[0])
                        wide.append((int(number), made[1]))
                # All at once, since another process that cuts this round waits for the lock of the first.
                pictures.executemany("INSERT OR REPLACE INTO wide VALUES (?, ?)", wide)
                # The state is written last: a cutout that is marked as cut is on disk.
                pictures.commit()
                windows.flush()
                scales.flush()
                states[numbers] = reached
                states.flush()
                yield int(((states != WAITING) | unread).sum())

    def _arrays(self, mode: Literal["r", "r+"]) -> tuple[np.memmap[Any, Any], np.memmap[Any, Any], np.memmap[Any, Any]]:
        shape = (self.objects.num_rows, len(self.record.bands), self.record.window, self.record.window)
        names = {"windows": shape, "scales": shape[:2], "states": shape[:1]}
        arrays = [open_memmap(self.folder / f"{name}.npy", mode=mode) for name in names]
        if [one.shape for one in arrays] != list(names.values()):
            raise ValueError("its arrays are not of the shape of its list")
        return arrays[0], arrays[1], arrays[2]


def make_round(folder: Path, objects: Table, record: RoundRecord) -> Round:
    """Make the folder of a round: its list, and room for the cutouts. It appears as a whole.

    Raises:
        ScannerError: ``hunt.bad_list`` where a column is missing or nothing is listed, ``output.*``.
    """
    if missing := [name for name in REQUIRED if name not in objects.colnames]:
        message = f"The list has no column {', '.join(missing)}."
        raise ScannerError(ErrorCode.HUNT_BAD_LIST, message, "Give a list that rank or query wrote.")
    if not len(objects):
        raise ScannerError(ErrorCode.HUNT_BAD_LIST, "The list holds no object.", "Loosen its filter.")
    if not all(np.isfinite(np.ma.filled(objects[name], np.nan)).all() for name in ("ra", "dec")):
        raise ScannerError(ErrorCode.HUNT_BAD_LIST, "The list has objects without a position.", "Remove these rows.")
    shape = (len(objects), len(record.bands), record.window, record.window)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    with output_errors(folder, creating=True):
        for stale in folder.parent.glob(".[0-9]*.*"):
            with contextlib.suppress(FileNotFoundError):
                if stale.stat().st_mtime < time.time() - _LONG_AGO:
                    shutil.rmtree(stale, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            plain = {name: np.asarray(objects[name]) for name in objects.colnames if objects[name].ndim == 1}
            pq.write_table(pa.table(plain), temporary / "objects.parquet")
            kinds = {"windows": ("<f2", shape), "scales": ("<f4", shape[:2]), "states": ("u1", shape[:1])}
            for name, (kind, size) in kinds.items():
                path = temporary / f"{name}.npy"
                open_memmap(path, mode="w+", dtype=kind, shape=size).flush()
                _reserve(path)
            with contextlib.closing(sqlite3.connect(temporary / "wide.sqlite")) as pictures:
                pictures.execute("CREATE TABLE wide (number INTEGER PRIMARY KEY, picture BLOB NOT NULL)")
                pictures.commit()
            write_json(temporary / "round.json", asdict(record))
            # A folder is not renamed onto one that has files, so no round takes the place of another.
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return Round(folder)


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Raise ``ValueError`` where one of these files leads out of its folder: a project may come from somebody else."""
    home = folder.resolve()
    for path in (folder / name for name in names):
        if not path.resolve().is_relative_to(home):
            raise ValueError(f"{path.name} is a link to a file elsewhere")


def _reserve(path: Path) -> None:
    """Have the disk set aside all bytes of a file: writing through a map to a full disk ends the process."""
    # Where the system has no such call, a full disk is met later.
    if hasattr(os, "posix_fallocate"):
        descriptor = os.open(path, os.O_RDWR)
        try:
            os.posix_fallocate(descriptor, 0, path.stat().st_size)
        finally:
            os.close(descriptor)


def _values(column: pa.ChunkedArray) -> list[Any]:
    # Arrow makes an object of each value, which takes ten times as long.
    kind = column.type
    if column.null_count or not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        values: list[Any] = column.to_pylist()
        return values
    return list(column.to_numpy(zero_copy_only=False).tolist())


def pack(flux: Flux) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Pack cutouts [..., S, S] as float16, and the powers of two [...] that multiply each plane.

    float16 ends at 65,504, and a bright star is beyond it. A power of two changes no digit of a flux.
    """
    peak = np.max(np.abs(flux), axis=(-2, -1), initial=0.0, where=np.isfinite(flux))
    exponent = np.maximum(np.ceil(np.log2(np.maximum(peak, 1.0) / 32_768)), 0)
    scale = np.exp2(exponent).astype(np.float32)
    return (flux / scale[..., None, None]).astype("<f2"), scale
